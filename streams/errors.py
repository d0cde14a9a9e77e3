"""Errors by consequence. Whoever raises one decides what happens to the record, not whoever catches it.

- `Invalid`: the record can never succeed -> dead letter.
- `Retryable`: the record is fine, what it needs is away -> back off without end, never split, never dead-letter.
- `Fatal`: going on would do damage -> the process stops; its supervisor restarts it.

`reason` is a short bounded word: it becomes a metric label and a dead-letter header. `detail` is for people.
"""

from __future__ import annotations


class Failure(Exception):
    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Invalid(Failure):
    """Bad input. `indexes`: positions within the batch that are bad, when the handler knows them (else it is split)."""

    def __init__(self, reason: str, detail: str = "", indexes: dict[int, str] | None = None) -> None:
        super().__init__(reason, detail)
        self.indexes = indexes


class Retryable(Failure):
    """What the record needs is away. `after_s`: the other side's own word on when to come back (0: our back-off)."""

    def __init__(self, reason: str, detail: str = "", after_s: float = 0.0) -> None:
        super().__init__(reason, detail)
        self.after_s = after_s


class Fatal(Failure):
    pass
