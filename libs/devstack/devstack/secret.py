"""The secrets of one stack: made once per data folder, readable by its owner alone."""

import hmac
import os
import secrets as random_source
from pathlib import Path

import msgspec


class Secrets(msgspec.Struct, frozen=True):
    api_token: str
    s3_access_key: str
    s3_secret_key: str

    @property
    def analyst_token(self) -> str:
        """Made of another secret, so that stacks which were there before it have one too."""
        return hmac.new(self.s3_secret_key.encode(), b"analyst", "sha256").hexdigest()[:32]


def load_or_make(path: Path) -> Secrets:
    """*Guarantees*: of processes that race, all return the same; a file is never seen half written."""
    if not path.exists():
        made = Secrets(random_source.token_urlsafe(24), random_source.token_hex(10), random_source.token_urlsafe(30))
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_bytes(msgspec.json.encode(made))
        try:
            os.link(draft, path)  # fails where another was first: its secrets are the stack's
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return msgspec.json.decode(path.read_bytes(), type=Secrets)
