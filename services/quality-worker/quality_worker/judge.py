"""Judge: one record and its contract in, one verdict out. Pure: "now" is the record's own append time.

*Guarantees*: every record gets exactly one verdict and nothing raises; the same record and contract always
get the same. An unforeseen error while judging is a verdict too (`undecodable`, `judge_error`, with its trace).
"""

import re
import traceback
from collections.abc import Callable
from operator import ge, gt, le, lt
from typing import Any, NamedTuple

import msgspec

from dataforge.contracts.compile import compile_contract, is_scaled, time_ms
from dataforge.contracts.model import EventType, QualityRule
from dataforge.contracts.reasons import Reason
from dataforge.errors import Rejected
from dataforge.stream.judged import TRACEPARENT, Verdict
from dataforge.stream.records import RAW_MAX_BYTES, Record

from quality_worker.quick import END_MS, MAX_ID_LENGTH, compile_quick, compile_quotes
from quality_worker.strict import check_depth, check_keys, check_syntax, check_text, plain_keys

Holds = Callable[[Any], bool]


class Judgement(NamedTuple):
    verdict: Verdict
    reason: str = ""
    detail: str = ""
    """For people: which field, what was found, what is allowed."""
    warnings: tuple[str, ...] = ()
    """Names of the rules that only warn and did not hold."""
    traceparent: str = ""


VALID = Judgement(Verdict.VALID)
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C trace context, version 00. Anything else in the header is not handed on."""


class Judge:
    def __init__(self, event: EventType) -> None:
        self.event = event
        contract = event.contract
        self._compiled = compile_contract(contract)
        self._decode = self._compiled.decoder.decode
        self._quick = compile_quick(event, self._compiled)
        self._quotes = compile_quotes(event, self._compiled)
        self._keyed = contract.key_field is not None
        self._nests = any(field.type in ("object", "array") for field in contract.fields.values())
        self._thorough = self._nests or self._compiled.validate is not None
        attributes = self._compiled.attributes
        self._time_attribute = attributes[contract.time_field]
        self._time_ms = time_ms(contract)
        self._id_attribute = attributes[contract.id_field]
        self._rules = [(rule, attributes[rule.field], _check(rule)) for rule in event.rules]

    def judge(self, record: Record) -> Judgement:
        """*Guarantees*: never raises, whatever the record holds."""
        try:
            judgement = self._judge(record)
        except Rejected as error:
            verdict = Verdict.QUARANTINED if error.parses else Verdict.UNDECODABLE
            judgement = Judgement(verdict, error.reason, error.detail)
        except Exception:  # noqa: BLE001 - whatever it is, it is this record's outcome (DESIGN R8)
            judgement = Judgement(Verdict.UNDECODABLE, Reason.JUDGE_ERROR, traceback.format_exc(limit=-5))
        for name, value in record.headers:
            if name == TRACEPARENT and value is not None and _TRACEPARENT.fullmatch(value):
                return Judgement(*judgement[:4], value.decode("ascii"))
        return judgement

    def _judge(self, record: Record) -> Judgement:
        value = record.value or b""
        if (size := len(value) + len(record.key or b"")) > RAW_MAX_BYTES:
            detail = f"{size:,} bytes uncompressed, {RAW_MAX_BYTES:,} may be; landing has them"
            raise Rejected(Reason.TOO_LARGE, detail, parses=False)
        if not value or not value[0] or not value.isascii():
            check_text(value)
        event = self._read(value)
        if record.key is None and self._keyed:
            raise Rejected(
                Reason.NULL_KEY,
                f"the record has no key; produce it with {self.event.contract.key_field!r} as the key, "
                "or repeats of it could land in another partition",
            )
        if not self._thorough and self._quick(event, record.timestamp):
            return VALID
        self._check_values(event, record.timestamp)
        self._check_schema(value)
        return self._check_rules(event)

    def _read(self, value: bytes) -> Any:
        """Decoding is validation. *Raises* `Rejected`."""
        if self._nests:
            check_depth(value)
        try:
            event = self._decode(value)
        except (msgspec.DecodeError, RecursionError) as error:
            # What comes after the first mistake may not even be JSON, or may be a second one.
            check_syntax(value)
            check_keys(value)
            raise _rejected(str(error)) from None
        if not plain_keys(value, self._quotes(event)):
            check_keys(value)
        return event

    def _check_values(self, event: Any, now_ms: int) -> None:
        contract = self.event.contract
        for name, attribute, scale in self._compiled.decimals:
            number = getattr(event, attribute)
            if isinstance(number, float) and not is_scaled(number, scale):
                raise Rejected(
                    Reason.TOO_MANY_DECIMALS,
                    f"{name} is {number!r}; it may have {scale} decimals and 15 digits in all",
                )
        event_id = getattr(event, self._id_attribute)
        if isinstance(event_id, str) and not 0 < len(event_id) <= MAX_ID_LENGTH:
            found = f"{len(event_id):,} characters long" if event_id else "empty"
            raise Rejected(Reason.OUT_OF_RANGE, f"{contract.id_field} is {found}; 1 to {MAX_ID_LENGTH} are allowed")
        at_ms = self._time_ms(getattr(event, self._time_attribute))
        if at_ms > now_ms + contract.max_ahead_ms:
            raise Rejected(
                Reason.TIME_AHEAD, _away(contract.time_field, at_ms - now_ms, "ahead of", contract.max_ahead_ms)
            )
        if at_ms < now_ms - contract.max_age_ms:
            raise Rejected(Reason.TOO_OLD, _away(contract.time_field, now_ms - at_ms, "behind", contract.max_age_ms))
        if not 0 <= at_ms < END_MS:
            raise Rejected(Reason.BAD_TIME, f"{contract.time_field} is not within the years 1970 to 9998")

    def _check_schema(self, value: bytes) -> None:
        """What msgspec cannot express. *Raises* `Rejected`."""
        if self._compiled.validate is None:
            return
        try:
            document = msgspec.json.decode(value)
        except msgspec.DecodeError as error:  # it is JSON, so this is a number nobody can hold
            raise Rejected(Reason.OUT_OF_RANGE, str(error)) from None
        if problem := self._compiled.validate(document):
            raise Rejected(Reason.NOT_ALLOWED, problem)

    def _check_rules(self, event: Any) -> Judgement:
        warnings: tuple[str, ...] = ()
        for rule, attribute, holds in self._rules:
            value = getattr(event, attribute)
            if value is None or value is msgspec.UNSET or holds(value):
                continue
            if rule.action == "quarantine":
                raise Rejected(rule.name, f"{rule.field} is {value!r}: {rule.why}")
            warnings += (rule.name,)
        return VALID._replace(warnings=warnings) if warnings else VALID


def _away(field: str, distance_ms: int, where: str, allowed_ms: int) -> str:
    return (
        f"{field} is {distance_ms / 86_400_000:.1f} days {where} the time the record arrived; "
        f"{allowed_ms / 86_400_000:g} days are allowed"
    )


_MISTAKES: tuple[tuple[str, Reason], ...] = (
    ("missing required field", Reason.MISSING_FIELD),
    ("unknown field", Reason.UNEXPECTED_FIELD),
    ("Invalid RFC3339", Reason.BAD_TIME),
    ("timezone", Reason.BAD_TIME),
    ("Invalid enum value", Reason.NOT_ALLOWED),
    ("matching regex", Reason.NOT_ALLOWED),
    ("out of range", Reason.OUT_OF_RANGE),
    (", got", Reason.WRONG_TYPE),
)
_ATTRIBUTE = re.compile(r" - at `\$\.?([^`]*)`")


def _rejected(message: str) -> Rejected:
    """Msgspec's words as a typed reason. What none of the phrases fits is a bound that does not hold."""
    reason = next((reason for phrase, reason in _MISTAKES if phrase in message), Reason.OUT_OF_RANGE)
    at = _ATTRIBUTE.search(message)
    text = _ATTRIBUTE.sub("", message)
    return Rejected(reason, f"{at[1]}: {text}" if at and at[1] else text)


def _check(rule: QualityRule) -> Holds:
    compare = {"minimum": ge, "maximum": le, "exclusive_minimum": gt, "exclusive_maximum": lt}.get(rule.check)
    allowed = rule.value
    if compare is not None:
        return lambda value: compare(value, allowed)
    match rule.check:
        case "in":
            return lambda value: value in allowed
        case "not_in":
            return lambda value: value not in allowed
        case "matches":
            return lambda value: allowed.search(value) is not None
        case _:
            return lambda value: str(value) in allowed
