"""What is given out and committed, over every order of reading, dropping, finishing and losing partitions."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.batch import Batch, Lease, StoredMessage
from streams.in_flight import InFlight
from streams.offsets import Tracker
from streams.record import Record

PARTITIONS = st.integers(0, 2)
TAKERS = st.sampled_from(["a", "b", "c"])
MAX_RECORDS = 5


def messages(partition: int, first: int, count: int) -> list[StoredMessage]:
    return [StoredMessage(Record("t", partition, first + i, None, b"x", 0)) for i in range(count)]


class Source(RuleBasedStateMachine):
    """A broker that hands a partition from its committed offset on, takers that do anything, a partition that goes."""

    def __init__(self) -> None:
        super().__init__()
        self.flight = InFlight(MAX_RECORDS, 1 << 20, lambda _batch: None)
        self.next: dict[int, int] = {}
        self.broker = {0: 0, 1: 0, 2: 0}
        self.done: dict[int, set[int]] = {0: set(), 1: set(), 2: set()}
        self.order: dict[int, int] = {}
        self.out: list[Batch] = []
        self.gone: set[object] = set()

    @rule(partition=PARTITIONS)
    def assign(self, partition: int) -> None:
        if partition not in self.next:
            start = self.broker[partition]
            self.flight.assign(("t", partition), Tracker(start, "id"), closed=False)
            self.next[partition] = start
            self.order[partition] = start

    @rule(partition=PARTITIONS, commits=st.booleans())
    def revoke(self, partition: int, commits: bool) -> None:
        """`commits` false: it was lost, or the process died."""
        if partition in self.next:
            if commits:
                self.commit()
            self.flight.forget(("t", partition))
            del self.next[partition]

    @rule(partition=PARTITIONS, count=st.integers(1, MAX_RECORDS), hole=st.integers(0, 2))
    def read(self, partition: int, count: int, hole: int) -> None:
        room = self.flight.room()
        if partition in self.next and room:
            first = self.next[partition] + hole
            self.done[partition].update(range(self.next[partition], first))
            self.flight.add(("t", partition), messages(partition, first, min(count, room)), high=1 << 30)
            self.next[partition] = first + min(count, room)

    @rule(taker=TAKERS)
    def take(self, taker: str) -> None:
        self.gone.discard(taker)
        batch = self.flight.give(taker, self.gone.__contains__)
        if batch is not None:
            assert batch.first_offset >= self.order[batch.partition], "given before those ahead of it were finished"
            self.out.append(batch)

    @rule(taker=TAKERS)
    def begin(self, taker: str) -> None:
        """What an agent does mostly."""
        self.take(taker)
        if self.out:
            self.out[-1].claim()

    @rule(taker=TAKERS, partition=PARTITIONS)
    def work(self, taker: str, partition: int) -> None:
        self.assign(partition)
        self.read(partition, MAX_RECORDS, 0)
        self.take(taker)
        if self.out and self.out[-1].claim():
            self._finish(self.out[-1])

    @rule(taker=TAKERS)
    def taker_ends(self, taker: str) -> None:
        self.gone.add(taker)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.out)).claim()

    @precondition(lambda self: any(batch.lease is Lease.HELD for batch in self.out))
    @rule(data=st.data(), finish=st.booleans())
    def end(self, data: st.DataObject, finish: bool) -> None:
        batch = data.draw(st.sampled_from([batch for batch in self.out if batch.lease is Lease.HELD]))
        if finish:
            self._finish(batch)
        else:
            batch.release()

    def _finish(self, batch: Batch) -> None:
        batch.finish()
        self.done[batch.partition].update(range(batch.first_offset, batch.end_offset))
        self.order[batch.partition] = batch.end_offset

    @precondition(lambda self: any(batch.lease is Lease.FORGOTTEN for batch in self.out))
    @rule(data=st.data())
    def end_of_a_forgotten_one(self, data: st.DataObject) -> None:
        batch = data.draw(st.sampled_from([batch for batch in self.out if batch.lease is Lease.FORGOTTEN]))
        before = self.flight.records, self.flight.commits()
        assert not batch.claim()
        batch.finish()
        batch.release()
        assert (self.flight.records, self.flight.commits()) == before

    @rule()
    def commit(self) -> None:
        commits = {tp: offset for tp, (offset, _id) in self.flight.commits().items()}
        for (_topic, partition), offset in commits.items():
            assert self.done[partition] >= set(range(self.broker[partition], offset)), "committed past what is done"
            assert offset > self.broker[partition]
            self.broker[partition] = offset
        self.flight.committed(commits)
        assert not self.flight.commits()

    @invariant()
    def bounded(self) -> None:
        unfinished = [batch for tracker in self.flight.trackers.values() for batch in tracker.unfinished]
        assert self.flight.records == sum(map(len, unfinished)) < 3 * MAX_RECORDS
        assert self.flight.bytes == sum(batch.nbytes for batch in unfinished)
        repeated = sum(tracker.uncommitted for tracker in self.flight.trackers.values())
        assert self.flight.records + repeated < 5 * MAX_RECORDS

    @invariant()
    def nothing_is_stuck(self) -> None:
        """Unless somebody holds it, the first unfinished batch of every partition can be had."""
        for tracker in self.flight.trackers.values():
            head = tracker.head
            if head is not None and head.lease is Lease.WAITING:
                assert self.flight.peek(head.taker, self.gone.__contains__) is not None


TestSource = Source.TestCase
TestSource.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)


def test_records_that_were_read_before_are_refused() -> None:
    tracker = Tracker(10)
    with pytest.raises(ValueError, match="comes after offset 9"):
        tracker.add(Batch("t", 0, messages(0, 9, 1)))


def test_markers_of_transactions_at_the_end_are_committed_and_are_no_lag() -> None:
    flight = InFlight(10, 1 << 20, lambda _batch: None)
    tracker = Tracker(-1, "id")
    flight.assign(("t", 0), tracker, closed=False)
    batch = flight.add(("t", 0), messages(0, 0, 3), high=4)
    tracker.at_end(4)
    assert not batch.at_end
    assert flight.commits() == {}
    assert tracker.lag == 4
    assert batch.claim()
    batch.finish()
    assert flight.commits() == {("t", 0): (4, "id")}
    assert tracker.lag == 0


def test_an_empty_partition_that_once_had_records_has_no_lag() -> None:
    tracker = Tracker(-1)
    tracker.high = 500
    tracker.at_end(500)
    assert tracker.lag == 0


def test_a_partition_whose_state_is_not_loaded_gives_nothing() -> None:
    flight = InFlight(10, 1 << 20, lambda _batch: None)
    flight.assign(("t", 0), Tracker(0), closed=True)
    flight.add(("t", 0), messages(0, 0, 3), high=3)
    assert flight.give("a", lambda _taker: False) is None
    flight.closed.clear()
    assert flight.give("a", lambda _taker: False) is not None


def test_large_records_make_reads_small() -> None:
    flight = InFlight(1000, 1 << 20, lambda _batch: None)
    flight.assign(("t", 0), Tracker(0), closed=False)
    assert flight.room() == 1000
    big = [StoredMessage(Record("t", 0, i, None, b"x" * (100 << 10), 0)) for i in range(5)]
    flight.add(("t", 0), big, high=5)
    assert flight.room() == 5
    flight.add(("t", 0), [StoredMessage(Record("t", 0, 5, None, b"x" * (600 << 10), 0))], high=6)
    assert flight.room() == 0


def test_an_answer_to_a_commit_for_an_earlier_assignment_holds_no_later_commit_back() -> None:
    flight = InFlight(10, 1 << 20, lambda _batch: None)
    flight.assign(("t", 0), Tracker(0, "old"), closed=False)
    flight.forget(("t", 0))
    flight.assign(("t", 0), Tracker(0, "new"), closed=False)
    batch = flight.add(("t", 0), messages(0, 0, 3), high=3)
    flight.committed({("t", 0): 50})
    batch.claim()
    batch.finish()
    assert flight.commits() == {("t", 0): (3, "new")}
    assert flight.trackers["t", 0].uncommitted == 3
    flight.committed({("t", 0): 3})
    assert flight.trackers["t", 0].uncommitted == 0
