"""Which family of dated indices a log record goes to: the first tier of the settings that matches it. Pure.

Like the day, it is a function of the record (and the settings) alone. Without tiers nothing is read of a record. With
them its place is, which is read for the accounts too, and where that is not plain what is drawn of it for searching.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from streams.accounts import Place, plain_place
from streams.settings import Tier
from streams.sinks.index import fields
from streams.sinks.index.ids import day_of, index_name
from streams.sinks.index.port import Kind


class Tiers:
    def __init__(self, tiers: Sequence[Tier]) -> None:
        self._rules = [(tier.name, _pattern(tier.tenants), _pattern(tier.namespaces)) for tier in tiers]
        self._of = lru_cache(maxsize=4096)(self._first)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def of(self, value: bytes, place: Place | None) -> str:
        """The tier of a record's value and its place (None: not plain); empty: none of them. Never raises: what cannot
        be read is of none."""
        if not self._rules:
            return ""
        if place is None:
            return self._drawn(value)
        _, namespace, tenant = place
        return self._of((tenant,) if tenant else (), (namespace,) if namespace else ())

    def _drawn(self, value: bytes) -> str:
        try:
            drawn = fields.draw(Kind.LOGS, fields.decode(value))
        except ValueError:
            return ""
        return self._of(drawn.tenants, drawn.namespace)

    def _first(self, tenants: tuple[str, ...], namespaces: tuple[str, ...]) -> str:
        for name, tenant, namespace in self._rules:
            if _fits(tenant, tenants) and _fits(namespace, namespaces):
                return name
        return ""


class Names(NamedTuple):
    """How the indices of one installation are called."""

    prefix: str
    tiers: Tiers = Tiers(())

    def of(self, kind: Kind, time_ms: int, value: bytes) -> str:
        """The index of a record with this Kafka timestamp and value."""
        tier = self.tiers.of(value, plain_place(value)) if self.tiers and kind is Kind.LOGS else ""
        return index_name(self.prefix, kind, day_of(time_ms), tier)


def _pattern(globs: Sequence[str]) -> re.Pattern[str] | None:
    """None: anything, even nothing. A `*` stands for any characters."""
    if not globs:
        return None
    parts = (".*".join(map(re.escape, re.split(r"\*+", glob))) for glob in globs)
    return re.compile("|".join(f"(?:{part})" for part in parts), re.DOTALL)


def _fits(pattern: re.Pattern[str] | None, values: Sequence[str]) -> bool:
    return pattern is None or any(pattern.fullmatch(value) for value in values)
