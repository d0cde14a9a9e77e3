"""A record that is changed field by field: what is not touched keeps the bytes it came with. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from schemas.base import UNREADABLE
from streams.sinks.index import fields

_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode
_decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode
ENVELOPE = b'"specversion"'


class Editing:
    """The top level of one JSON object. A CloudEvent in structured mode stands for the record in its `data`."""

    __slots__ = ("_outer", "changed", "top")

    def __init__(self, value: bytes) -> None:
        """`value`: UTF-8. Raises one of UNREADABLE when it is no JSON object."""
        self.changed = False
        self._outer: dict[str, msgspec.Raw] | None = None
        self.top: dict[str, msgspec.Raw] = _raw(value)
        if ENVELOPE in value and "specversion" in self.top and bytes(self.top.get("data", b""))[:1] == b"{":
            self._outer = self.top
            self.top = _raw(self._outer["data"])

    def raw(self, name: str) -> bytes:
        """The JSON text of a field; empty when there is none."""
        return bytes(self.top.get(name, b""))

    def text(self, name: str) -> str | None:
        """A field that is text."""
        raw = self.top.get(name)
        return _text(raw) if raw is not None and bytes(raw)[:1] == b'"' else None

    def get(self, name: str) -> Any:
        raw = self.top.get(name)
        return None if raw is None else _decode(raw)

    def set(self, name: str, json: bytes) -> None:
        self.top[name] = msgspec.Raw(json)
        self.changed = True

    def remove(self, name: str) -> None:
        if self.top.pop(name, None) is not None:
            self.changed = True

    def rename(self, names: dict[str, str]) -> None:
        """Fields under other names, in the place they had."""
        self.top = {names.get(name, name): raw for name, raw in self.top.items()}
        self.changed = True

    def some(self, names: Iterable[str] | None) -> dict[str, Any]:
        """The fields of these names (None: all), decoded."""
        top = self.top
        return {name: _decode(top[name]) for name in (top if names is None else names) if name in top}

    def value(self) -> bytes:
        if self._outer is None:
            return encode(self.top)
        return encode(self._outer | {"data": msgspec.Raw(encode(self.top))})


def opened(value: bytes) -> Editing:
    """Raises ValueError saying what `value` is when it is no JSON object."""
    try:
        return Editing(repaired(value))
    except UNREADABLE:
        fields.decode(value)
        raise


def repaired(value: bytes) -> bytes:
    """`value`, which `fields.decode` reads, as the index reads it when it is not UTF-8."""
    if value.isascii():
        return value
    try:
        value.decode()
    except UnicodeDecodeError:
        return value.decode("utf-8", "replace").encode()
    return value
