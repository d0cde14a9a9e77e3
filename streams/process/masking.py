"""The step `mask`: what patterns find in a record's texts is replaced, wherever it stands in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from schemas.process_document import Mask, Preset
from streams.process import patterns
from streams.process.candidates import ESCAPED
from streams.process.patterns import Find, Span, replaced
from streams.process.rewriting import Editing, encode

ORIGIN = frozenset(
    ("kubernetes", "cluster", "tenant", "tag", "stream", "logtag", "@timestamp", "time", "timestamp", "date")
)
"""Fields that say where a record is from and when: left alone unless named."""
NAMES = 1024
"""Names of fields, and sets of them, of which is remembered what to do with them."""
MIN_NUMBER = 13
"""Shorter JSON numbers cannot be a card's."""
_decode = msgspec.json.Decoder().decode
_secret_key = patterns.detecting(patterns.SECRET_KEY.encode())


@lru_cache(NAMES)
def _is_secret(name: str) -> bool:
    return _secret_key(name.encode())


class Shape(NamedTuple):
    """Of a record: the fields to look into, and those to be renamed because their names are to be masked."""

    names: tuple[str, ...]
    renamed: dict[str, str]


class Masking:
    """A `Mask`, ready to be used. Raises ValueError for a pattern that is none."""

    def __init__(self, mask: Mask) -> None:
        own = [(patterns.raw_of(text), patterns.finder(text)) for text in mask.patterns]
        found = [*((patterns.RAW[each], patterns.PRESETS[each]) for each in mask.presets), *own]
        self._finders = [find for _, find in found]
        self._sort = patterns.sorting([None if raw is None else raw + b"|" + ESCAPED for raw, _ in found])
        self._with = mask.replacement.encode()
        self._whole = encode(mask.replacement)
        self._fields = mask.fields
        self._keys = Preset.TOKEN in mask.presets
        self._shape = lru_cache(NAMES)(self._look_at)

    def __call__(self, record: Editing) -> bool:
        """Mask it; whether there was anything to mask."""
        shape = self._shape(tuple(record.top))
        found = False
        for name in shape.names:
            found = self.field(record, name) or found
        if shape.renamed:
            record.rename(shape.renamed)
        return found or bool(shape.renamed)

    def field(self, record: Editing, name: str) -> bool:
        raw = record.raw(name)
        changed = self._whole if self._secret(name, raw[:3]) else self._json(raw)
        if changed is raw or changed == raw:
            return False
        record.set(name, changed)
        return True

    def _look_at(self, top: tuple[str, ...]) -> Shape:
        """What is the same for all records of these fields."""
        if self._fields:
            return Shape(tuple(name for name in self._fields if name in top), {})
        names = tuple(name for name in top if name not in ORIGIN)
        renamed: dict[str, str] = {}
        for name in names:
            if (masked := self._text(name, self._for(name.encode()))) != name:
                renamed[name] = fresh(masked, {**dict.fromkeys(top), **dict.fromkeys(renamed.values())})
        return Shape(names, renamed)

    def _for(self, raw: bytes) -> list[Find]:
        """The finders that may find something in raw JSON."""
        return [self._finders[number] for number in self._sort(raw)]

    def _secret(self, key: str, raw: bytes) -> bool:
        return self._keys and raw[:1] == b'"' and raw[:2] != b'""' and _is_secret(key)

    def _json(self, raw: bytes) -> bytes:
        """JSON text, masked."""
        finders = self._for(raw)
        if not finders:
            return raw
        if raw[:1] == b'"' and b"\\" not in raw:
            spans = self._spans(raw[1:-1], finders)  # the text as it is
            return b'"%b"' % replaced(raw[1:-1], spans, self._whole[1:-1]) if spans else raw
        if raw[:1] in b'"{[':
            value = _decode(raw)
            masked = self._value(value, finders)
            return raw if masked == value else encode(masked)
        return self._whole if len(raw) >= MIN_NUMBER and self._spans(raw, finders) else raw

    def _value(self, value: Any, finders: Sequence[Find]) -> Any:
        if isinstance(value, str):
            return self._text(value, finders)
        if isinstance(value, dict):
            out: dict[str, Any] = {}
            for key, item in value.items():
                hide = isinstance(item, str) and item and self._secret(key, b'".')
                out[fresh(self._text(key, finders), out)] = self._hidden if hide else self._value(item, finders)
            return out
        if isinstance(value, list):
            return [self._value(item, finders) for item in value]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raw = encode(value)
            return self._hidden if len(raw) >= MIN_NUMBER and self._spans(raw, finders) else value
        return value

    @property
    def _hidden(self) -> str:
        return self._with.decode()

    @staticmethod
    def _spans(data: bytes, finders: Sequence[Find]) -> list[Span]:
        return [span for find in finders for span in find(data)]

    def _text(self, text: str, finders: Sequence[Find]) -> str:
        data = text.encode()
        spans = self._spans(data, finders)
        return replaced(data, spans, self._with).decode("utf-8", "replace") if spans else text


def fresh(name: str, taken: Mapping[str, Any]) -> str:
    """`name`, or with a number behind it where it is taken: two masked names may be alike."""
    number, out = 1, name
    while out in taken:
        number += 1
        out = f"{name}_{number}"
    return out
