"""The step `parse`: a text of the record as fields, bounded in number, depth and size. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from schemas.process_document import Form, Parse
from streams.process import patterns
from streams.process.rewriting import Editing, encode

MAX_FIELDS = 64
MAX_NAME = 128
MAX_VALUE = 4096
MAX_DEPTH = 5
MAX_TEXT = 64 << 10
"""Longer texts are left as they are."""
_decode = msgspec.json.Decoder().decode
_PAIR = re.compile(r'(?<!\S)([A-Za-z_@][\w.@/-]{0,127})=("(?:[^"\\]|\\.)*"|[^\s"]*)(?=\s|$)')
"""Linear: begins only at words, and a quoted value ends at the next quote."""

Fields = dict[str, Any]


def _json(text: str) -> Fields | None:
    text = text.strip()
    if not text.startswith("{"):
        return None
    try:
        found = _decode(text.encode())
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _logfmt(text: str) -> Fields | None:
    """`key=value key="quoted value"`; other words are passed over."""
    return dict(_pairs(text)) or None


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for match in _PAIR.finditer(text):
        name, value = match.groups()
        yield name, _unquoted(value) if value.startswith('"') else value


def _unquoted(text: str) -> str:
    try:
        return str(_decode(text.encode()))
    except (msgspec.DecodeError, UnicodeError):
        return text[1:-1]


def named(pattern: str) -> Callable[[str], Fields | None]:
    """Reads by an RE2 pattern with named groups. Raises ValueError."""
    compiled = patterns.compiled(pattern)
    names = {index: name.decode() for name, index in compiled.groupindex.items()}
    if not names:
        raise ValueError("expected named groups, such as (?P<status>[0-9]+)")

    def read(text: str) -> Fields | None:
        match = compiled.search(text.encode())
        if match is None:
            return None
        data = text.encode()
        spans = {name: match.span(index) for index, name in names.items()}
        return {name: data[start:end].decode("utf-8", "replace") for name, (start, end) in spans.items() if start >= 0}

    return read


def bounded(found: Fields) -> Fields:
    """What of `found` is kept: the first fields, text cut, what nests too deeply left out."""
    out: Fields = {}
    for name, value in found.items():
        if len(out) >= MAX_FIELDS:
            break
        if 0 < len(name) <= MAX_NAME and _fits(value):
            out[name] = value[:MAX_VALUE] if isinstance(value, str) else value
    return out


def _fits(value: Any) -> bool:
    if not isinstance(value, (dict, list)):
        return True
    return _shallow(value, MAX_DEPTH) and len(encode(value)) <= MAX_VALUE


def _shallow(value: Any, depth: int) -> bool:
    if not isinstance(value, (dict, list)):
        return True
    if depth == 0:
        return False
    return all(_shallow(item, depth - 1) for item in (value.values() if isinstance(value, dict) else value))


class Parsing:
    """A `Parse`, ready to be used. Raises ValueError for a pattern that is none."""

    def __init__(self, parse: Parse) -> None:
        readers = {Form.JSON: _json, Form.LOGFMT: _logfmt}
        self._read = readers[parse.form] if parse.form in readers else named(parse.pattern)
        self._source = parse.source
        self.into = parse.into

    def __call__(self, record: Editing) -> bool:
        """Add the fields; what the record already has under these names stays. Whether there were any."""
        text = record.text(self._source)
        if text is None or len(text) > MAX_TEXT:
            return False
        there = record.get(self.into)
        if there is not None and not isinstance(there, dict):
            return False
        found = self._read(text)
        if not found:
            return False
        made = bounded(found) | (there or {})
        if made == there:
            return False
        record.set(self.into, encode(made))
        return True
