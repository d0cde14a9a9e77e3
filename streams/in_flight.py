"""What a batch source holds: the partitions assigned to it, their batches, and how much more may come. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from streams.batch import Batch, Lease, Message
from streams.offsets import Tracker, next_batch

TP = tuple[str, int]

RECORD_OVERHEAD = 256
"""Bytes a record costs here beside its value."""
SHARE = 4
"""A batch does not grow beyond this part of all bytes that may be unfinished."""
FIRST_GUESS_BYTES = 1024.0
"""Size of a record before one was seen."""


class InFlight:
    """`max_records`: of one read; twice as many may be unfinished, and four times as many read and not committed, which
    bounds what is done twice when the process dies. `max_bytes`: of all that is unfinished.

    `changed` is called when a batch was finished or released.
    """

    def __init__(self, max_records: int, max_bytes: int, changed: Callable[[Batch], None]) -> None:
        self.trackers: dict[TP, Tracker] = {}
        self.closed: set[TP] = set()
        """Assigned, but nothing of them is given out yet: their state is still being loaded."""
        self.records = 0
        self.bytes = 0
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._changed = changed
        self._record_bytes = FIRST_GUESS_BYTES
        self._order = 0

    def assign(self, tp: TP, tracker: Tracker, *, closed: bool) -> None:
        """Take over a partition, forgetting what was known of it."""
        self.forget(tp)
        self.trackers[tp] = tracker
        if closed:
            self.closed.add(tp)

    def forget(self, tp: TP) -> None:
        self.closed.discard(tp)
        tracker = self.trackers.pop(tp, None)
        if tracker is not None:
            for batch in tracker.unfinished:
                self._leave(batch)
            tracker.forget()

    def add(self, tp: TP, messages: Sequence[Message], high: int) -> Batch:
        """Records just read of an assigned partition. They join a batch that nobody was given yet: batches grow when
        the sink is slow. Raises ValueError when they are not beyond what was read."""
        tracker = self.trackers[tp]
        nbytes = sum(map(len, messages)) + RECORD_OVERHEAD * len(messages)
        at_end = messages[-1].offset() + 1 >= high
        if tracker.growing(self._max_records - len(messages), self._max_bytes // SHARE) is not None:
            batch = tracker.grow(messages, nbytes=nbytes, at_end=at_end)
        else:
            self._order += 1
            batch = Batch(
                *tp,
                messages,
                topic_id=tracker.topic_id,
                nbytes=nbytes,
                order=self._order,
                at_end=at_end,
                on_change=partial(self._on_change, tracker),
            )
            tracker.add(batch)
        tracker.high = max(tracker.high, high)
        self.records += len(messages)
        self.bytes += nbytes
        self._record_bytes = nbytes / len(messages)
        return batch

    def room(self) -> int:
        """How many records may be read now; 0 while too much is unfinished, or not committed."""
        if self.records >= 2 * self._max_records or self.bytes >= self._max_bytes or self.must_commit():
            return 0
        return max(1, min(self._max_records, int((self._max_bytes - self.bytes) / self._record_bytes)))

    def must_commit(self) -> bool:
        """Whether only a commit makes room: too much is read and not committed, finished or not."""
        return self.records + sum(t.uncommitted for t in self.trackers.values()) >= 4 * self._max_records

    def peek(self, taker: object, gone: Callable[[object], bool]) -> Batch | None:
        """The batch `taker` would get."""
        return next_batch((t for tp, t in self.trackers.items() if tp not in self.closed), taker, gone)

    def give(self, taker: object, gone: Callable[[object], bool]) -> Batch | None:
        batch = self.peek(taker, gone)
        if batch is not None:
            batch.taker = taker
            batch.puts += 1
        return batch

    @property
    def held(self) -> bool:
        """Whether somebody works on a batch."""
        return any((head := t.head) is not None and head.lease is Lease.HELD for t in self.trackers.values())

    def commits(self) -> dict[TP, tuple[int, str]]:
        """Offset to commit and its metadata (the id of its topic first), of the partitions that have something new."""
        return {tp: offer for tp, tracker in self.trackers.items() if (offer := tracker.offer) is not None}

    def committed(self, offsets: dict[TP, int]) -> None:
        """These were committed."""
        for tp, offset in offsets.items():
            if (tracker := self.trackers.get(tp)) is not None:
                tracker.commit(offset)

    def _on_change(self, tracker: Tracker, batch: Batch) -> None:
        if batch.lease is Lease.FINISHED:
            self._leave(batch)
            tracker.advance()
        self._changed(batch)

    def _leave(self, batch: Batch) -> None:
        self.records -= len(batch)
        self.bytes -= batch.nbytes
