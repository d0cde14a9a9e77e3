"""Accounts are exact whatever happens between flush, commit and kill: each record counts once, where it stands."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from schemas.accounts import Page
from streams.account import NOTE_BYTES, Account, Note, lines_of, parse
from streams.accounts import HOUR_MS, Fate, Line, Report, Sum, by_fate, event_places, log_places, tally, times_of
from streams.batch import Batch, StoredMessage, batch_of
from streams.census import Census
from streams.latency import BOUNDS_S, counts, quantile
from streams.offsets import Tracker
from streams.record import Record

T0 = 1_795_000_000_000 // HOUR_MS * HOUR_MS


def log(offset: int, *, namespace: str = "shop", time_ms: int = T0, value: bytes | None = None) -> Record:
    text = b'{"cluster":"c","log":"x","kubernetes":{"namespace_name":"%b"}}' % namespace.encode()
    return Record("logs", 0, offset, None, text if value is None else value, time_ms, None)


def messages(*records: Record) -> list[StoredMessage]:
    return [StoredMessage(record) for record in records]


def test_places_are_what_the_index_would_draw() -> None:
    odd = [
        b'{"cluster": "a", "tenant": "t", "kubernetes": {"namespace_name" : "n"}}',
        b'{"log":"{\\"namespace_name\\":\\"planted\\"}","kubernetes":{"namespace_name":"n"},"cluster":"a"}',
        b'{"namespace_name":"planted","kubernetes":{"labels":{"namespace_name":"too"},"namespace_name":"n"}}',
        b'{"kubernetes":{"namespace_name":7},"cluster":["a","b"]}',
        b'{"kubernetes":"no","cluster":null}',
        b"not json",
        b"\xff",
        b"[1]",
        b'{"specversion":"1.0","data":{"cluster":"a","kubernetes":{"namespace_name":"n"}}}',
    ]
    found = log_places(batch_of([*(log(n, value=value) for n, value in enumerate(odd)), log(99, value=b"")]))
    assert found == [
        ("a", "n", "t"),
        ("a", "n", ""),
        ("", "n", ""),
        ("a", "7", ""),
        ("", "", ""),
        ("", "", ""),
        ("", "", ""),
        ("", "", ""),
        ("a", "n", ""),
        ("", "", ""),
    ]


def test_places_of_events() -> None:
    values = [b'{"cluster":"a","involved":{"namespace":"n"}}', b'{"cluster":"a","namespace":"m","tenant":"t"}', b"{"]
    assert event_places(batch_of([log(n, value=v) for n, v in enumerate(values)])) == [
        ("a", "n", ""),
        ("a", "m", "t"),
        ("", "", ""),
    ]


def test_records_are_counted_by_hour_place_and_fate() -> None:
    batch = batch_of([log(0), log(1, namespace="pay"), log(2), log(3, time_ms=T0 + HOUR_MS)])
    given = batch.messages
    report = Report()
    report.dropped("noise", [2])
    report.dropped("second", [2])
    found = tally(given, log_places(batch), report.fates, times_of(given))
    hour, size = T0 // HOUR_MS, len(given[0])
    assert found == {
        Line(hour, "c", "shop", "", "indexed", ""): Sum(1, size),
        Line(hour, "c", "pay", "", "indexed", ""): Sum(1, size - 1),
        Line(hour, "c", "shop", "", "dropped", "noise"): Sum(1, size),
        Line(hour + 1, "c", "shop", "", "indexed", ""): Sum(1, size),
    }


def test_a_batch_that_was_split_and_buried_counts_each_record_once() -> None:
    batch = batch_of([log(n) for n in range(10)])
    census = Census("index-logs", log_places, lambda: T0 + 700)
    count = census.begin()
    count.buried(batch, {3, 4}, "refused")
    rest = batch.without({3, 4})
    rest.report = Report()
    rest.report.dropped("noise", [0])
    count.handled(rest)
    outcome = count.outcome()
    assert {fate: sum_.records for fate, sum_ in by_fate(outcome.lines).items()} == {
        "dead_lettered": 2,
        "dropped": 1,
        "indexed": 7,
    }
    assert outcome.latency[BOUNDS_S.index(0.75)] == 8


def test_lateness_is_counted_in_buckets_of_upper_bounds() -> None:
    now = T0
    found = counts([now - 50, now - 100, now - 101, now - 2000, now - 9_999_999, now + 5], now)
    assert sum(found) == 6
    assert found[0] == 3
    assert found[1] == 1
    assert found[BOUNDS_S.index(2.0)] == 1
    assert found[-1] == 1
    assert quantile(found, 0.5) is not None
    assert quantile([0] * len(found), 0.5) is None


def test_a_note_of_another_program_is_none() -> None:
    assert parse("qvSAFu3VTjqvGA2GyKFt5A") == ("qvSAFu3VTjqvGA2GyKFt5A", None)
    assert parse("id what else") == ("id", None)
    assert parse("") == ("", None)


PLACES = 60
"""More than a note holds."""


class Owners(RuleBasedStateMachine):
    """One partition, owned by one process after another (and, for a while, by two): what Kafka holds of the commit and
    of the pages always adds up to what the commit's offset says, line by line."""

    def __init__(self) -> None:
        super().__init__()
        self.now = T0
        self.end = 0
        self.committed: tuple[int, str] | None = None
        self.pages: dict[tuple[int, int, int], Page] = {}
        self.late: int | None = None
        self.owner = self.opened()
        self.zombie: tuple[Tracker, Account] | None = None

    def opened(self) -> tuple[Tracker, Account]:
        offset, note = self.committed or (-1, "")
        account = Account(offset, parse(f"id {note}")[1], lambda: self.now)
        return Tracker(max(offset, 0), "id", account), account

    @staticmethod
    def record(offset: int) -> Record:
        spread = offset * 7919 % 1000
        return log(offset, namespace=f"namespace-of-tenant-{spread % PLACES}", time_ms=T0 + spread % 3 * HOUR_MS)

    def process(self, owner: tuple[Tracker, Account], size: int) -> None:
        tracker, _ = owner
        start = tracker.expected
        batch = batch_of([self.record(n) for n in range(start, start + size)], topic_id="id")
        batch.report = Report()
        batch.report.dropped("thirds", [n for n in range(size) if (start + n) % 3 == 0])
        count = Census("a", log_places, lambda: self.now).begin()
        count.handled(batch)
        batch.outcome = count.outcome()
        tracker.add(batch)
        batch.finish()
        tracker.advance()

    @rule(size=st.integers(1, 120), seconds=st.integers(0, 40))
    def work(self, size: int, seconds: int) -> None:
        self.now += seconds * 1000
        self.process(self.owner, size)

    @rule(end=st.sampled_from(["stored", "stored", "unsure", "killed", "slow"]), size=st.integers(1, 90))
    def flush(self, end: str, size: int) -> None:
        """`unsure`: the pages are in Kafka although the producer says they are not; `slow`: work, and perhaps a commit,
        come between."""
        tracker, account = self.owner
        self.now += 30_000
        if not account.due:
            return
        upto = tracker.position
        pages = account.flush(upto)
        if end == "slow":
            self.process(self.owner, size)
            self.commit("yes")
        self.write(account, pages)
        if end == "killed":
            self.die()
        elif end == "unsure":
            account.failed()
        else:
            account.flushed_to(upto)

    @rule(answered=st.sampled_from(["yes", "yes", "yes", "no", "late", "refused"]))
    def commit(self, answered: str) -> None:
        tracker, _ = self.owner
        if self.late is not None:
            return  # one commit at a time
        if (offer := tracker.offer) is None:
            return
        assert len(offer[1]) <= NOTE_BYTES + 20
        tracker.offered(offer)
        if answered == "refused":
            return
        self.committed = offer[0], offer[1].removeprefix("id ")
        if answered == "yes":
            tracker.commit(offer[0])
        elif answered == "no":
            self.die()
        else:
            self.late = offer[0]

    @rule()
    def answer(self) -> None:
        if self.late is not None:
            self.owner[0].commit(self.late)
        self.late = None

    @rule()
    def die(self) -> None:
        self.late = None
        self.owner = self.opened()

    @rule(size=st.integers(1, 90))
    def be_replaced(self, size: int) -> None:
        """Another process owns the partition, and this one does not know yet: it goes on, but cannot commit."""
        self.late = None
        self.zombie, self.owner = self.owner, self.opened()
        self.process(self.zombie, size)

    @rule(size=st.integers(1, 90))
    def haunt(self, size: int) -> None:
        if self.zombie is None:
            return
        tracker, account = self.zombie
        self.process(self.zombie, size)
        self.now += 61_000
        if account.due:
            upto = tracker.position
            self.write(account, account.flush(upto))
            account.flushed_to(upto)

    def write(self, account: Account, pages: dict[int, Page]) -> None:
        for hour, page in pages.items():
            self.pages[account.epoch, account.term, hour] = page

    @invariant()
    def what_is_committed_is_counted_once(self) -> None:
        offset, note = self.committed or (0, "")
        parsed = parse(f"id {note}")[1] or Note()
        terms: dict[int, dict[int, Page]] = {}
        for (epoch, term, hour), page in self.pages.items():
            if epoch == parsed.e:
                terms.setdefault(term, {})[hour] = page
        wanted: Counter[Any] = Counter()
        for n in range(offset):
            record = self.record(n)
            fate = Fate.DROPPED if n % 3 == 0 else Fate.INDEXED
            place = log_places(batch_of([record]))[0]
            wanted[record.timestamp_ms // HOUR_MS, *place, fate.value] += 1
        found = {(*line[:5],): sum_.records for line, sum_ in lines_of(terms, parsed).items()}
        assert found == dict(wanted)
        assert sum(sum_.records for sum_ in parsed.totals.values()) == offset


TestOwners = Owners.TestCase
TestOwners.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_an_unaccounted_batch_counts_as_indexed() -> None:
    account = Account(5, None, lambda: T0)
    account.add(Batch("logs", 0, messages(log(5), log(6))))
    assert account.totals == {"indexed": Sum(2, 2 * len(messages(log(5))[0]))}
    assert account.base == 5


def test_lines_that_cannot_be_flushed_are_folded_and_totals_stay() -> None:
    account = Account(-1, None, lambda: T0)
    given = [log(n, namespace=f"namespace-of-tenant-{n}") for n in range(100)]
    batch = batch_of(given)
    count = Census("a", log_places, lambda: T0).begin()
    count.handled(batch)
    batch.outcome = count.outcome()
    account.add(batch)
    assert account.note() is None
    account.flush(100)
    account.failed()
    account.fold()
    note = parse(f"id {account.note()}")[1]
    assert note is not None
    assert note.totals["indexed"].records == 100
    assert [(line.namespace, sum_.records) for line, sum_ in note.lines.items()] == [("*", 100)]
