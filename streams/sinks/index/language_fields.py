"""The fields of a log record that a query may name beside the fixed ones: its own scalars, by their path. Pure.

`{"status": 500, "http": {"method": "GET"}}` has `status` and `http.method`. A list's items are values of its path, and
objects in a list are looked into. `kubernetes.labels` is `label.<name>`, of the rest of `kubernetes` only
`KUBERNETES`; text that is searched by words, and the record's time, are no fields. Bounds keep one odd record from
costing what thousands do.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

MAX_VALUE = 256
"""Longer values are no values of a field: they are looked into by words, if at all."""
KNOWN = 32
"""Characters of a value whose terms are remembered: streams, levels, states are the same again and again."""
MAX_PAIRS = 64
MAX_PLACE = 1024
MAX_DEPTH = 4
LABEL = "label."
LEVELS = ("level", "severity", "severity_text")
"""Where a record says how bad it is; `level` asks all of them, whatever the case."""
NAMED = ("stream", "trace_id", "span_id")
"""Fields of their own in Elasticsearch's mapping; others are read from the documents when asked for."""
KUBERNETES = ("host", "container_image")
TEXTS = ("log", "message", "msg")
TIMES = frozenset({"time", "@timestamp", "timestamp", "ts", "date", "@time"})
FIXED = frozenset({"cluster", "tenant", "kubernetes", *TEXTS, *TIMES})
"""Top-level members that are no fields of this kind."""
NAME = re.compile(r"[A-Za-z_@][A-Za-z0-9_@/-]{0,127}(?:\.[A-Za-z0-9_@/-]{1,127}){0,15}")
_NUMBER = re.compile(r"[\x00-\x20]*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?[dDfF]?[\x00-\x20]*", re.ASCII)
_SIGN = 1 << 63
_DOUBLE, _BITS = struct.Struct(">d").pack, struct.Struct(">Q").unpack


HAS, TEXT, NUMBER, PLACE = "\x02", "\x00", "\x01", "\x03"
"""What the terms of a record's fields begin with or have between path and value; no path has these characters."""


class About(NamedTuple):
    """What `kubernetes` of a record says: the same for all lines of a container."""

    terms: tuple[str, ...] = ()
    fields: int = 0
    """How many they were made of."""
    place: tuple[str, ...] = ()
    """The term of the container as a whole, if there is one."""


NOTHING = About()


def terms(record: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of a log record as exact words: that there is one, its text, and its number."""
    return terms_of(about(record.get("kubernetes")), record)


def terms_of(known: About, record: Mapping[str, Any]) -> tuple[str, ...]:
    """The same, of a record whose `kubernetes` was looked at before."""
    own = _own(record, MAX_PAIRS - known.fields)
    return tuple(dict.fromkeys((*known.terms, *_terms(own), *known.place)))


def about(found: Any) -> About:
    """`found`: the value of `kubernetes`, or None."""
    if not isinstance(found, dict):
        return NOTHING
    fields = _of_kubernetes(found)
    place = [found.get(name) for name in ("namespace_name", "pod_name", "container_name")]
    named = any(isinstance(each, str) and each for each in place)
    term = PLACE + TEXT.join(each if isinstance(each, str) else "" for each in place)[:MAX_PLACE]
    return About(tuple(_terms(fields)), len(fields), (term,) if named else ())


def _terms(found: Iterable[tuple[str, Any]]) -> Iterator[str]:
    for path, value in found:
        short = not isinstance(value, str) or len(value) <= KNOWN
        yield from _known_terms(path, value) if short else _terms_of(path, value)


def _terms_of(path: str, value: Any) -> tuple[str, ...]:
    text, number = as_text(value), as_number(value)
    if path in LEVELS:
        path, text = "level", text.lower()
    out = [HAS + path]
    if len(text) <= MAX_VALUE:
        out.append(path + TEXT + text)
    if number is not None:
        out.append(path + NUMBER + number_key(number))
    return tuple(out)


_known_terms = lru_cache(maxsize=4096, typed=True)(_terms_of)


def pairs(record: Mapping[str, Any]) -> list[tuple[str, str, float | None]]:
    """(path, value as text, value as a number if it is one) of a record's fields, at most `MAX_PAIRS` of them."""
    found = record.get("kubernetes")
    out = _of_kubernetes(found) if isinstance(found, dict) else []
    out += _own(record, MAX_PAIRS - len(out))
    return [(path, as_text(value), as_number(value)) for path, value in out]


def _of_kubernetes(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    labels = found.get("labels")
    if isinstance(labels, dict):
        _within(LABEL, labels, MAX_DEPTH, out)
    for name in KUBERNETES:
        if name in found:
            _put(f"kubernetes.{name}", found[name], 0, out)
    return out[:MAX_PAIRS]


def _own(record: Mapping[str, Any], room: int) -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    for name, value in record.items():
        if name not in FIXED:
            _put(name, value, MAX_DEPTH - 1, out)
    return out[:room]


def _within(prefix: str, value: Mapping[str, Any], depth: int, out: list[tuple[str, Any]]) -> None:
    for name, inner in value.items():
        _put(prefix + name, inner, depth - 1, out)


def _put(path: str, value: Any, depth: int, out: list[tuple[str, Any]]) -> None:
    if len(out) >= MAX_PAIRS:
        return
    if isinstance(value, (str, int, float)):
        if _is_name(path):
            out.append((path, value))
    elif isinstance(value, dict):
        if depth > 0:
            _within(f"{path}.", value, depth, out)
    elif isinstance(value, list):
        for item in value[:MAX_PAIRS]:
            if not isinstance(item, list):
                _put(path, item, depth, out)


@lru_cache(maxsize=4096)
def _is_name(path: str) -> bool:
    return NAME.fullmatch(path) is not None


def as_text(value: str | int | float) -> str:
    """As Elasticsearch writes it: numbers as Java does (`1.0E10`)."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return _java(value) if isinstance(value, float) else str(value)


def _java(value: float) -> str:
    """Java's `Double.toString`: plain from 0.001 to 10 million, else with an exponent."""
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    digits, _, exponent = f"{value!r}".partition("e")
    if not exponent:
        digits = repr(value)
        sign, digits = ("-", digits[1:]) if digits[0] == "-" else ("", digits)
        whole, _, rest = digits.partition(".")
        shown = (whole + rest).lstrip("0").rstrip("0")
        exponent = str(len(whole) - 1 if whole != "0" else len(rest.lstrip("0")) - len(rest) - 1)
        digits = f"{sign}{shown[0]}.{shown[1:] or '0'}"
    elif "." not in digits:
        digits += ".0"
    return f"{digits}E{int(exponent)}"


def as_number(value: Any) -> float | None:
    """The number a value is, or that its text writes; None for none (a boolean is none)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        try:
            return float(value)
        except OverflowError:
            return None
    if isinstance(value, str) and len(value) <= 64 and _NUMBER.fullmatch(value):
        return float(value.strip("\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r \x0e\x0f\x1b").rstrip("dDfF"))
    return None


def number_key(value: float) -> str:
    """16 hexadecimal digits that sort as the numbers do."""
    (bits,) = _BITS(_DOUBLE(value + 0.0))
    return f"{bits ^ ((1 << 64) - 1) if bits & _SIGN else bits | _SIGN:016x}"
