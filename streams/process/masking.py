"""The step `mask`: what patterns find in a record's texts is replaced, wherever it stands in it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

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
"""Names of fields whose masked form is remembered."""
MIN_NUMBER = 13
"""Shorter JSON numbers cannot be a card's."""
_decode = msgspec.json.Decoder().decode
_secret_key = patterns.detecting(patterns.SECRET_KEY.encode())


@lru_cache(NAMES)
def _is_secret(name: str) -> bool:
    return _secret_key(name.encode())


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
        self._name = lru_cache(NAMES)(lambda name: self._text(name, self._for(name.encode())))

    def __call__(self, record: Editing) -> bool:
        """Mask it; whether there was anything to mask."""
        names = self._fields or [name for name in record.top if name not in ORIGIN]
        found = [name for name in names if name in record.top and self.field(record, name)]
        if not self._fields:
            found += self._names(record, names)
        return bool(found)

    def field(self, record: Editing, name: str) -> bool:
        raw = record.raw(name)
        changed = self._whole if self._secret(name, raw[:3]) else self._json(raw)
        if changed == raw:
            return False
        record.set(name, changed)
        return True

    def _names(self, record: Editing, names: Iterable[str]) -> list[str]:
        """Mask names of fields; those changed."""
        found: dict[str, str] = {}
        for name in names:
            if (masked := self._name(name)) != name:
                found[name] = fresh(masked, {**record.top, **dict.fromkeys(found.values())})
        if found:
            record.rename(found)
        return list(found)

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
