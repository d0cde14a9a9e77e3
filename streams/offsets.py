"""Which batch of a partition may be worked on, and which offset may be committed. Pure.

A batch is given out only when all before it of its partition are finished, so a partition's records are seen in order
whatever was dropped, released or restarted. A commit never passes an unfinished batch. What to give next is a function
of this state alone: a batch that was taken and dropped needs no finding, it is simply still the first unfinished one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from streams.batch import Batch, Lease, Message

if TYPE_CHECKING:
    from streams.account import Account


class Tracker:
    """Batches of one assigned partition in the order they were read.

    `start`: the offset the first record should have (-1: unknown, whatever comes is the first).
    """

    def __init__(self, start: int = -1, topic_id: str = "", account: Account | None = None) -> None:
        self.account = account
        """Counts what became of the records before `position`, where its source keeps accounts."""
        self._batches: deque[Batch] = deque()
        self._finished: deque[tuple[int, int]] = deque()
        self.topic_id = topic_id
        self.expected = start
        """Offset the next record read should have; records between are gone (retention, compaction, markers)."""
        self.position = start
        """Offset up to which everything is finished (what to commit), or -1 while nothing is known."""
        self.committed = start
        self.high = -1
        """End of the partition when it was last asked for, -1 before."""
        self._end = -1

    def add(self, batch: Batch) -> None:
        """Append a batch just read. Raises ValueError when its offsets are not beyond what was read before."""
        if batch.first_offset < self.expected:
            raise ValueError(f"{batch!r} comes after offset {self.expected - 1}")
        self._batches.append(batch)
        self.expected = batch.end_offset
        self.high = max(self.high, batch.end_offset)

    def growing(self, max_records: int, max_bytes: int) -> Batch | None:
        """The last batch, when nobody was given it yet and it is below both bounds: what is read next may join it."""
        last = self._batches[-1] if self._batches else None
        if last is None or last.puts or last.lease is not Lease.WAITING:
            return None
        return last if len(last) < max_records and last.nbytes < max_bytes else None

    def grow(self, messages: Sequence[Message], *, nbytes: int, at_end: bool) -> Batch:
        """Append records just read to the last batch. Raises ValueError when they are not beyond it."""
        last = self._batches[-1]
        if messages[0].offset() < self.expected:
            raise ValueError(f"offset {messages[0].offset()} comes after {self.expected - 1}")
        last.extend(messages, nbytes=nbytes, at_end=at_end)
        self.expected = last.end_offset
        self.high = max(self.high, last.end_offset)
        return last

    def at_end(self, offset: int) -> None:
        """The broker says there is nothing before `offset` that was not read (markers of transactions count too)."""
        self._end = max(self._end, offset)
        self.expected = max(self.expected, offset)
        self.high = max(self.high, offset)
        self.advance()

    def advance(self) -> int:
        """Drop finished batches from the front; returns the new position."""
        while self._batches and self._batches[0].lease is Lease.FINISHED:
            batch = self._batches.popleft()
            self.position = batch.end_offset
            if self.account is not None:
                self.account.add(batch)
            self._finished.append((batch.end_offset, len(batch)))
        if not self._batches and self._end > self.position:
            self.position = self._end
        return self.position

    @property
    def to_commit(self) -> int | None:
        """The offset to commit now, None when there is nothing new."""
        return self.position if self.advance() > self.committed else None

    @property
    def offer(self) -> tuple[int, str] | None:
        """The offset to commit now and its metadata: the topic's id, and what the account says. None when there is
        nothing new, or when the account is to be flushed first."""
        if (offset := self.to_commit) is None:
            return None
        if self.account is None:
            return offset, self.topic_id
        offer = self.account.offer(offset)
        return None if offer is None else (offer[0], f"{self.topic_id} {offer[1]}")

    def offered(self, offer: tuple[int, str]) -> None:
        """This is about to be committed."""
        if self.account is not None:
            self.account.offered((offer[0], offer[1].removeprefix(f"{self.topic_id} ")))

    def commit(self, offset: int) -> None:
        """`offset` was committed; one beyond the position was meant for an earlier assignment and changes nothing."""
        if self.committed < offset <= self.position:
            self.committed = offset
            if self.account is not None:
                self.account.committed(offset)
            while self._finished and self._finished[0][0] <= offset:
                self._finished.popleft()

    @property
    def uncommitted(self) -> int:
        """Records that are finished and would be read again if the process died now."""
        return sum(count for _end, count in self._finished)

    @property
    def head(self) -> Batch | None:
        """The first unfinished batch."""
        self.advance()
        return self._batches[0] if self._batches else None

    @property
    def lag(self) -> int:
        """Records up to the known end that are not finished (offsets, so an upper bound on records).

        Changes nothing: the watchdog asks from its own thread.
        """
        return max(0, self.high - max(self.position, 0))

    @property
    def unfinished(self) -> list[Batch]:
        return [batch for batch in self._batches if batch.wanted]

    def forget(self) -> None:
        """The partition is not ours any more: finishing its batches changes nothing from now on."""
        self.advance()
        for batch in self._batches:
            batch.forget()
        self._batches.clear()


def next_batch(trackers: Iterable[Tracker], taker: object, gone: Callable[[object], bool]) -> Batch | None:
    """The batch `taker` gets now: the oldest that is the first unfinished one of its partition and nobody works on.

    A batch taken and never claimed was dropped when its taker is `gone`, or asks for another one.
    """
    best: Batch | None = None
    for tracker in trackers:
        head = tracker.head
        if head is None or head.lease is not Lease.WAITING or (best is not None and best.order < head.order):
            continue
        if head.taker is None or head.taker is taker or gone(head.taker):
            best = head
    return best
