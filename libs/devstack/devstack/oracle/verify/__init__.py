"""The ledger from first principles: what the logs, the chain and the state say, record by record."""
