"""The judge's account of what the live fold did, beside the live fold."""

from collections import Counter

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataforge.contracts.model import Domain
from dataforge.stream.judged import Acceptance, Verdict

from aggregator.compile import compile_event
from aggregator.dedupe import SeenIds
from aggregator.fold import Fold
from lake.transforms.outcomes import folded
from orders import HORIZON_MS, LATENESS_MS, START, Sent, drawn, judged, orders_domain, parts

pytestmark = pytest.mark.small


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Domain:
    return orders_domain(tmp_path_factory.mktemp("domains") / "orders")


def account(sent: list[Sent], batch: int = 100) -> pd.DataFrame:
    """Of partitions one after the other, in batches."""
    rows = [
        (one.partition, one.offset, one.ts_ms, one.event["order"] if one.valid and one.event else None,
         one.event["at_ms"] if one.valid and one.event else None)
        for one in sent
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=pd.Index(["partition", "offset", "ts_ms", "df_id", "at_ms"]))
    batches = [frame.iloc[at : at + batch] for at in range(0, len(frame), batch)]
    return pd.concat(folded(batches, LATENESS_MS, HORIZON_MS))


def live(sent: list[Sent], orders: Domain) -> list[Counter[str]]:
    """The aggregator's outcomes, record by record."""
    compiled = compile_event(orders.events[0], orders.fingerprint)
    fold = Fold(compiled.decode, compiled.contribute, len(compiled.plan.tables), LATENESS_MS, SeenIds(HORIZON_MS))
    found: list[Counter[str]] = []
    for record, _ in Acceptance().accepted(judged(sent)):
        fold.fold([record], record.offset + 1)
        found.append(+fold.outcomes)
        fold.outcomes.clear()
    return found


@given(st.integers(0, 2**32), st.integers(1, 250), st.integers(1, 40), st.integers(1, 90))
def test_each_record_has_the_outcome_that_the_aggregator_gave_it(
    orders: Domain, seed: int, count: int, stretch: int, batch: int
):
    # Stretched, so that minutes end and ids are forgotten between the records.
    sent = [one._replace(ts_ms=START + (one.ts_ms - START) * stretch) for one in drawn(seed, count)]
    said = account([one for part in parts(sent) for one in part], batch)
    for partition, part in enumerate(parts(sent)):
        of_it = iter(said.loc[said["df_partition"] == partition, "outcome"].tolist())
        expected = [Counter([next(of_it)]) if one.valid else Counter() for one in part]
        assert live(part, orders) == expected


def test_the_drawn_logs_have_every_outcome():
    found = Counter(outcome for seed in range(5) for outcome in account(parts(drawn(seed, 400))[0])["outcome"])
    assert all(found[outcome] > 10 for outcome in ("counted", "duplicate", "late")), found


def test_a_log_without_a_valid_record_has_no_outcomes():
    assert len(account([Sent(0, 0, START, Verdict.QUARANTINED, None, b"")])) == 0
