"""Topic `people`: whom notifications of a tenant reach in person, and how each wants to be told."""

from __future__ import annotations

from schemas.base import Event


class Quiet(Event, frozen=True, kw_only=True):
    """From minute `start` to `end` of the day in `zone` (IANA), over midnight when `end` is not later; on `weekdays`
    (0 for Monday, by the day it begins; none named: all)."""

    start: int
    end: int
    zone: str = "UTC"
    weekdays: list[int] = []


class Person(Event, frozen=True, kw_only=True):
    """Key: tenant/name. `address`: of mail. `severity`: the least one that is told at all (empty: any)."""

    tenant: str
    name: str
    address: str
    enabled: bool = True
    language: str = "en"
    severity: str = ""
    quiet: Quiet | None = None
    through: str = "critical"
    """The least severity that is told at once in quiet hours and instead of a digest; empty: none is."""
    digest_minutes: int = 0
    """Told once in so many minutes (0: at once)."""
    updated_at_ms: int = 0
    cluster: str = ""


def person_key(tenant: str, name: str) -> str:
    return f"{tenant}/{name}"
