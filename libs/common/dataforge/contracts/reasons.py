"""Why a record is not valid: one typed reason, with a sentence for people. The table is docs/bad_input.md."""

from enum import StrEnum


class Reason(StrEnum):
    """Reasons of the platform itself. A broken quality rule's reason is the rule's name."""

    EMPTY_VALUE = "empty_value"
    UNKNOWN_SCHEMA = "unknown_schema"
    INVALID_UTF8 = "invalid_utf8"
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
    JUDGE_ERROR = "judge_error"
    DUPLICATE_KEYS = "duplicate_keys"
    NULL_KEY = "null_key"
    WRONG_TYPE = "wrong_type"
    MISSING_FIELD = "missing_field"
    UNEXPECTED_FIELD = "unexpected_field"
    OUT_OF_RANGE = "out_of_range"
    BAD_TIME = "bad_time"
    NOT_ALLOWED = "not_allowed"
    TOO_MANY_DECIMALS = "too_many_decimals"
    TIME_AHEAD = "time_ahead"
    TOO_OLD = "too_old"


UNDECODABLE = frozenset(
    {
        Reason.EMPTY_VALUE, Reason.UNKNOWN_SCHEMA, Reason.INVALID_UTF8, Reason.NOT_JSON, Reason.TOO_DEEP,
        Reason.TOO_LARGE, Reason.JUDGE_ERROR,
    }
)  # fmt: skip
"""The bytes are no document at all; every other reason is `quarantined`."""
