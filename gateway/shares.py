"""Bytes of bodies that are being taken in, shared out so that no sender leaves nothing for the others. Pure."""

from __future__ import annotations

from collections import Counter

from gateway.problems import Problem

AFTER_S = 2


class Shares:
    """At most `limit` bytes over all senders and half of that for one; who holds nothing gets any one body."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held: Counter[str] = Counter()

    @property
    def total(self) -> int:
        return self.held.total()

    def take(self, sender: str, size: int) -> None:
        """Raises 429 when the sender has its share, 503 when there is nothing left; both name when to come back."""
        held = self.held[sender]
        if held and held + size > self._limit // 2:
            raise _problem(429, "Too many requests", f"{held} bytes of yours are still being taken in")
        if self.total and self.total + size > self._limit:
            raise _problem(503, "Service unavailable", f"{self.total} bytes are still being taken in")
        self.held[sender] += size

    def give(self, sender: str, size: int) -> None:
        self.held[sender] -= size
        if self.held[sender] <= 0:
            del self.held[sender]


def _problem(status: int, title: str, detail: str) -> Problem:
    return Problem(status, title, detail, headers={"Retry-After": str(AFTER_S)}, reason="busy")
