"""The ledger's line of a topic, and lines by place and window, from what Kafka says. Pure."""

from __future__ import annotations

from typing import Any

from gateway.account_lines import Span as Hours
from gateway.account_lines import by_place, by_source, span_of
from gateway.cluster import Snapshot, Span
from gateway.ledger import INDEXED, Entry, entry, gone_of
from gateway.usage import Subject, lines
from schemas.accounts import AccountPage, Page
from streams.account import Note
from streams.accounts import HOUR_MS, Line, Sum
from streams.retention.policy import Policy
from streams.settings import Retention, RetentionRule
from streams.sinks.index.port import Kind, Stored

T0 = 500_000
GROUP = "eventsphere.index-logs"


def seen(
    *spans: Span, committed: dict[int, int] | None = None, notes: dict[int, Note] | None = None, topic_id: str = "id"
) -> Snapshot:
    return Snapshot(
        0.0,
        {"logs": list(spans)},
        {GROUP: {"logs": committed or {}}},
        {GROUP: {"logs": notes or {}}},
        {"logs": topic_id},
    )


def note(**totals: tuple[int, int]) -> Note:
    return Note(t=totals, e=7)


def of(snapshot: Snapshot, *, documents: int = 0, found: dict[Subject, Any] | None = None) -> Entry:
    return entry(INDEXED[0], snapshot, found or {}, refused=0, documents=documents, places=[], now_ms=0)


def test_everything_received_is_somewhere() -> None:
    """Two partitions: one read to offset 80 of 100, of which 5 had expired; one not read at all, its first 10 gone."""
    first = note(indexed=(60, 6000), dropped=(10, 500), joined=(3, 300), dead_lettered=(2, 200))
    found = of(seen(Span(5, 100, 1), Span(10, 30, 1), committed={0: 80}, notes={0: first}), documents=60)
    assert (found.received, found.indexed, found.dropped, found.joined, found.dead_lettered) == (130, 60, 10, 3, 2)
    assert (found.in_flight, found.expired) == (40, 15)
    assert found.received == 60 + 10 + 3 + 2 + found.in_flight + found.expired
    assert found.bytes["indexed"] == 6000
    assert found.bytes["in_flight"] == int(40 * 7000 / 75)
    assert found.adds_up


def test_what_was_committed_before_accounts_were_kept_counts_as_indexed() -> None:
    found = of(seen(Span(0, 50, 1), committed={0: 50}, notes={0: Note(b=30, t={"indexed": (20, 200)})}), documents=50)
    assert (found.indexed, found.expired, found.adds_up) == (50, 0, True)
    older = of(seen(Span(0, 50, 1), committed={0: 50}), documents=50)
    assert (older.indexed, older.adds_up) == (50, True)


def test_records_counted_twice_and_documents_from_nowhere_are_told() -> None:
    twice = of(seen(Span(0, 50, 1), committed={0: 50}, notes={0: note(indexed=(60, 1))}), documents=50)
    assert not twice.adds_up
    assert "counted more than once" in twice.problems[0]
    more = of(seen(Span(0, 50, 1), committed={0: 50}, notes={0: note(indexed=(50, 1))}), documents=51)
    assert more.problems == ["the index holds 1 documents more than were indexed"]


def test_what_retention_removed_is_no_repeat() -> None:
    """Hours before T0 + 10 are over for `shop`; of 100 indexed 70 are documents: 20 can have been removed."""
    snapshot = seen(Span(0, 100, 1), committed={0: 100}, notes={0: note(indexed=(100, 1))})
    lines_ = {
        Subject("index-logs", "logs", "id"): {
            Line(T0, "c", "shop", "", "indexed", ""): Sum(20, 1),
            Line(T0, "c", "pay", "", "indexed", ""): Sum(30, 1),
            Line(T0 + 20, "c", "shop", "", "indexed", ""): Sum(50, 1),
        }
    }
    policy = Policy(Retention(rules=[RetentionRule(namespace="shop", days=0.5)]))
    gone = gone_of(policy, Kind.LOGS, [], (T0 + 22) * HOUR_MS)
    line = entry(INDEXED[0], snapshot, lines_, refused=0, documents=70, places=[], now_ms=0, gone=gone)
    assert (line.removed, line.repeats) == (20, 10)
    more = entry(INDEXED[0], snapshot, lines_, refused=0, documents=95, places=[], now_ms=0, gone=gone)
    assert (more.removed, more.repeats) == (5, 0)


def test_days_the_index_does_not_hold_any_more_were_removed() -> None:
    part = Stored(name="logs/x", kind=Kind.LOGS, dated=True, from_ms=T0 * HOUR_MS, to_ms=0, documents=1, nbytes=1)
    gone = gone_of(Policy(Retention()), Kind.LOGS, [part], (T0 + 22) * HOUR_MS)
    assert gone(Line(T0 - 1, "c", "shop", "", "indexed", ""))
    assert not gone(Line(T0, "c", "shop", "", "indexed", ""))


def test_lines_that_hold_more_than_the_totals_are_told() -> None:
    snapshot = seen(Span(0, 50, 1), committed={0: 50}, notes={0: note(indexed=(50, 1))})
    wrong = {Subject("index-logs", "logs", "id"): {Line(1, "", "", "", "indexed", ""): Sum(51, 1)}}
    assert not of(snapshot, found=wrong).adds_up


def page(topic_id: str, records: int, *, epoch: int = 7, hour: int = T0, source: bool = False) -> AccountPage:
    row = (hour, "c", "shop", "acme", "received" if source else "indexed", "", records, records * 10)
    return AccountPage(
        agent="forward" if source else "index-logs",
        topic="logs",
        topic_id=topic_id,
        partition=0,
        epoch=epoch,
        term=0,
        hour=hour,
        page=Page(upto=records, lines=[row]),
        source=source,
    )


def test_a_topic_made_anew_begins_its_own_line_and_the_former_is_remembered() -> None:
    snapshot = seen(Span(0, 5, 1), committed={0: 5}, notes={0: Note(t={"indexed": (5, 50)}, e=9, f=0)}, topic_id="new")
    found = lines([page("old", 100), page("old", 90, epoch=3)], snapshot)
    line = of(snapshot, documents=103, found=found)
    assert line.repeats == 2
    assert (line.received, line.indexed, line.former, line.adds_up) == (5, 5, {"indexed": 100}, True)


def test_pages_of_an_account_nobody_committed_do_not_count() -> None:
    """Of a process that was killed before its first commit: the next one began an account of its own."""
    committed = Note(t={"indexed": (5, 50)}, e=9, f=0, d=[(T0, "c", "shop", "", "indexed", "", 5, 50)])
    snapshot = seen(Span(0, 5, 1), committed={0: 5}, notes={0: committed})
    found = lines([page("id", 100, epoch=3)], snapshot)
    assert found[Subject("index-logs", "logs", "id")] == {Line(T0, "c", "shop", "", "indexed", ""): Sum(5, 50)}


LINES = {
    Subject("index-logs", "logs", "id"): {
        Line(T0, "c", "shop", "acme", "indexed", ""): Sum(10, 100),
        Line(T0, "c", "shop", "acme", "dropped", "noise"): Sum(2, 20),
        Line(T0 + 1, "c", "shop", "acme", "indexed", ""): Sum(5, 50),
        Line(T0 + 1, "c", "pay", "", "indexed", ""): Sum(1, 10),
    },
    Subject("match-rules", "logs", "id"): {Line(T0, "c", "shop", "acme", "indexed", ""): Sum(99, 99)},
    Subject("forward", "logs", "instance", source=True): {Line(T0, "", "", "", "received", ""): Sum(15, 150)},
}
TOPICS = {"logs": "index-logs"}


def test_lines_by_place_are_of_the_indexing_agent_and_of_the_callers_tenants() -> None:
    found = [item.shown() for item in by_place(LINES, "namespace", Hours(), topics=TOPICS)]
    assert [(item["namespace"], item["received"], item["bytes"]["received"]) for item in found] == [
        ("pay", 1, 10),
        ("shop", 17, 170),
    ]
    assert found[1]["dropped_by"] == {"noise": {"records": 2, "bytes": 20}}
    theirs = by_place(LINES, "namespace", Hours(), topics=TOPICS, tenants=("acme",))
    assert [item.about["namespace"] for item in theirs] == ["shop"]
    assert by_place(LINES, "cluster", Hours(), topics=TOPICS, tenants=("other",)) == []
    spaces = by_place(LINES, "workspace", Hours(), topics=TOPICS, workspaces={("c", "pay"): "bank"})
    assert [(item.about["workspace"], item.received.records) for item in spaces] == [("acme", 17), ("bank", 1)]


def test_windows_are_whole_hours() -> None:
    start = T0 * HOUR_MS
    hours = span_of(start + 1, start + 2 * HOUR_MS, HOUR_MS)
    found = [item.shown() for item in by_place(LINES, "cluster", hours, topics=TOPICS)]
    assert [item["received"] for item in found] == [12, 6]
    assert found[0]["end"] == found[1]["start"]
    last = by_place(LINES, "cluster", span_of(start + HOUR_MS, 0, 0), topics=TOPICS)
    assert [item.received.records for item in last] == [6]


def test_what_no_source_counted_was_written_by_others() -> None:
    found = by_source(LINES, Hours(), seen(Span(0, 18, 1)))
    assert [(item["source"], item["received"]) for item in found] == [("forward", 15), ("", 3)]
    assert len(by_source(LINES, span_of(T0 * HOUR_MS, 0, 0), seen(Span(0, 18, 1)))) == 1
