"""The preview: what would change of records that came, for whom, and never more than they may see."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.process_preview import Preview, read, shown
from schemas.process_document import Document
from streams.record import Record
from tests.process.documents import documents, value

MASK = "documents: [{name: mask, steps: [{mask: {patterns: [mail]}}]}]"
DROP = "documents: [{name: noise, select: {where: 'log.contains(\"noise\")'}, steps: [drop]}]"


def records(*logs: str | bytes, tenant: str = "") -> list[Record]:
    more = {"tenant": tenant} if tenant else {}
    values = [log if isinstance(log, bytes) else value(log, **more) for log in logs]
    return [Record("logs", 0, at, b"chunk-%d" % at, each, 1000 + at) for at, each in enumerate(values)]


def seen(
    found: list[Record],
    new: str,
    in_force: str = "documents: [{name: none, enabled: false, steps: [drop]}]",
    *,
    own: bool = True,
) -> Preview:
    return shown(found, "T", documents(new), documents(in_force), own=own, examples=10)


def logs(found: Preview) -> list[tuple[Any, Any]]:
    return [(each.before and each.before["log"], each.after and each.after["log"]) for each in found.items]


def test_before_after_and_shares() -> None:
    found = seen(records("noise", "a@b.de", "c", b"{"), MASK.replace("]}]", "]}, " + DROP.partition("[")[2], 1))
    assert logs(found) == [("a@b.de", "***"), ("noise", None)]
    assert [each.by for each in found.items] == [["mask/mask"], ["noise/drop"]]
    assert (found.records, found.changed, found.dropped, found.dropped_percent) == (4, 2, 1, 25.0)
    assert {(step.document, step.step, step.records, step.percent) for step in found.steps} == {
        ("mask", "mask", 1, 25.0),
        ("noise", "drop", 1, 25.0),
    }
    assert 30 < found.bytes_saved_percent < 40


def test_what_is_no_record_is_counted() -> None:
    found = seen(records("a", b"{"), "documents: [{name: all, steps: [drop]}]")
    assert (found.unreadable, found.dropped) == (1, 1)


def test_new_documents_stand_in_the_place_of_those_of_the_same_name() -> None:
    gone = DROP.replace("noise\\", "other\\").replace("noise", "other").replace("name: other", "name: noise")
    found = seen(records("noise", "other"), gone, DROP)
    assert logs(found) == [("other", None), (None, "noise")]


def test_tenants_see_records_as_they_are_indexed_now() -> None:
    """Neither by a document of the same name, nor by asking what is selected, does masked text come to light."""
    new = "documents: [{name: mask, select: {where: 'log.contains(\"a@b.de\")'}, steps: [drop]}]"
    found = seen(records("a@b.de", "noise"), new, MASK.replace("]}]", "]}, " + DROP.partition("[")[2], 1), own=False)
    assert (found.changed, found.steps) == (0, [])
    found = seen(records("a@b.de x", "noise"), new.replace("a@b.de", "***"), MASK, own=False)
    assert logs(found) == [("*** x", None)]


def test_lines_are_joined_as_sources_join_them() -> None:
    join = "documents: [{name: lines, steps: [{join: {traces: [java]}}]}]"
    found = seen(records("x.Y: a", "\tat a.A(A.java:1)", "\tat b.B(B.java:2)", "next"), join)
    assert logs(found) == [("x.Y: a", "x.Y: a\n\tat a.A(A.java:1)\n\tat b.B(B.java:2)")]
    assert (found.changed, found.dropped) == (3, 0)
    assert [(step.step, step.records) for step in found.steps] == [("join", 2)]


def test_a_text_is_read_within_bounds() -> None:
    assert read("documents: [")[1]
    assert read("#" * 300_000)[1] == ["document:1: longer than 262144 characters"]
    many = ", ".join(f"{{name: d{number}, steps: [drop]}}" for number in range(30))
    assert read(f"documents: [{many}]")[1] == ["document:1: at most 20 documents at a time"]
    found: tuple[list[Document], list[str]] = read(MASK)
    assert [document.name for document in found[0]] == ["mask"]


def test_it_goes_over_the_wire() -> None:
    found = seen(records("a@b.de"), MASK)
    assert msgspec.json.decode(found.model_dump_json())["items"][0]["after"]["log"] == "***"
