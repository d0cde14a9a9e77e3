"""The step `mask`: what patterns find in a record's texts is replaced, wherever it stands in it. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.process_document import Mask, Preset
from streams.process import patterns
from streams.process.patterns import replaced
from streams.process.rewriting import Editing, encode

ORIGIN = frozenset(
    ("kubernetes", "cluster", "tenant", "tag", "stream", "logtag", "@timestamp", "time", "timestamp", "date")
)
"""Fields that say where a record is from and when: left alone unless named."""
MIN_NUMBER = 13
"""Shorter JSON numbers cannot be a card's."""
_decode = msgspec.json.Decoder().decode
_secret_key = patterns.compiled(patterns.SECRET_KEY).search


class Masking:
    """A `Mask`, ready to be used. Raises ValueError for a pattern that is none."""

    def __init__(self, mask: Mask) -> None:
        self._find = patterns.together(
            [*(patterns.PRESETS[each] for each in mask.presets), *map(patterns.finder, mask.patterns)]
        )
        self._with = mask.replacement.encode()
        self._whole = encode(mask.replacement)
        self._fields = mask.fields
        self._keys = Preset.TOKEN in mask.presets

    def __call__(self, record: Editing) -> bool:
        """Mask it; whether there was anything to mask."""
        names = self._fields or [name for name in record.top if name not in ORIGIN]
        found = [name for name in names if name in record.top and self.field(record, name)]
        if not self._fields:
            found += self._names(record, names)
        return bool(found)

    def field(self, record: Editing, name: str) -> bool:
        raw = record.raw(name)
        changed = self._whole if self._secret(name, raw) else self._json(raw)
        if changed == raw:
            return False
        record.set(name, changed)
        return True

    def _names(self, record: Editing, names: list[str] | tuple[str, ...]) -> list[str]:
        """Mask names of fields; those changed."""
        taken = dict.fromkeys(record.top, True)
        found = {name: fresh(new, taken) for name in names if (new := self._text(name)) != name}
        if found:
            record.rename(found)
        return list(found)

    def _secret(self, key: str, raw: bytes) -> bool:
        return self._keys and raw[:1] == b'"' and raw != b'""' and _secret_key(key.encode()) is not None

    def _json(self, raw: bytes) -> bytes:
        """JSON text, masked."""
        if raw[:1] in b'"{[':
            value = _decode(raw)
            masked = self._value(value)
            return raw if masked == value else encode(masked)
        if len(raw) >= MIN_NUMBER and self._find(raw):
            return self._whole
        return raw

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            out: dict[str, Any] = {}
            for key, item in value.items():
                hide = self._secret(key, encode(item)) if self._keys else False
                out[fresh(self._text(key), out)] = _decode(self._whole) if hide else self._value(item)
            return out
        if isinstance(value, list):
            return [self._value(item) for item in value]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raw = encode(value)
            return _decode(self._whole) if len(raw) >= MIN_NUMBER and self._find(raw) else value
        return value

    def _text(self, text: str) -> str:
        data = text.encode()
        spans = self._find(data)
        return replaced(data, spans, self._with).decode("utf-8", "replace") if spans else text


def fresh(name: str, taken: dict[str, Any]) -> str:
    """`name`, or with a number behind it where it is taken: two masked names may be alike."""
    number, out = 1, name
    while out in taken:
        number += 1
        out = f"{name}_{number}"
    return out
