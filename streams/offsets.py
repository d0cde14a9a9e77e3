"""Which offset of a partition may be committed: that of a batch only when it and all before it are finished. Pure."""

from __future__ import annotations

from collections import deque

from streams.batch import Batch, Lease


class Tracker:
    """Batches of one assigned partition in the order they were read."""

    def __init__(self) -> None:
        self._batches: deque[Batch] = deque()
        self.position = -1
        """Offset up to which everything is finished (what to commit), or -1 while nothing is."""
        self.committed = -1

    def add(self, batch: Batch) -> None:
        self._batches.append(batch)

    def advance(self) -> int:
        """Drop finished batches from the front; returns the new position."""
        while self._batches and self._batches[0].lease is Lease.FINISHED:
            self.position = self._batches.popleft().end_offset
        return self.position

    @property
    def to_commit(self) -> int | None:
        """The offset to commit now, None when there is nothing new."""
        self.advance()
        return self.position if self.position > self.committed else None

    @property
    def unfinished(self) -> list[Batch]:
        return [batch for batch in self._batches if batch.lease is not Lease.FINISHED]

    @property
    def waiting(self) -> list[Batch]:
        return [batch for batch in self._batches if batch.lease is Lease.WAITING]
