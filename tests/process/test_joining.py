"""Lines that belong together: the very traces the languages write, cut as container runtimes and senders cut them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.process.joining import Joined, Joiner
from tests.process.documents import documents, value

JAVA = """\
2026-11-24 ERROR request failed
java.lang.IllegalStateException: boom
\tat shop.Cart.add(Cart.java:17)
\tat shop.Cart$1.run(Cart.java:9)
Caused by: java.io.IOException: disk
\tat shop.Disk.write(Disk.java:3)
\t... 2 more
2026-11-24 INFO next"""
PYTHON = """\
INFO begin
Traceback (most recent call last):
  File "a.py", line 3, in <module>
    f()
    ~^^
  File "a.py", line 1, in f
    raise ValueError("x")
ValueError: x

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 5, in <module>
    g()
KeyError: 'y'
INFO end"""
GO = """\
start
panic: runtime error: index out of range [3] with length 1

goroutine 1 [running]:
main.(*T).f(0xc000012345)
\t/app/main.go:9 +0x1d
main.main()
\t/app/main.go:5 +0x20
created by main.start in goroutine 1
\t/app/main.go:3 +0x1
exit status 2
stop"""
NODE = """\
TypeError: x is not a function
    at f (/app/a.js:1:2)
    at Object.<anonymous> (/app/a.js:5:1)
done"""
TRACES = [
    ("java", JAVA, [1, 6, 1]),
    ("java", NODE, [3, 1]),
    ("python", PYTHON, [1, 14, 1]),
    ("go", GO, [1, 10, 1]),
    ("java, python, go", f"{JAVA}\n{PYTHON}\n{GO}", [1, 6, 1, 1, 14, 1, 1, 10, 1]),
]


def joiner(join: str = "{traces: [java, python, go]}", select: str = "{}") -> Joiner:
    return Joiner(documents(f"documents: [{{name: j, select: {select}, steps: [{{join: {join}}}]}}]"))


def join(given: Joiner, *values: bytes) -> Joined:
    return given.join(values) or Joined(list(values), list(range(len(values))), {}, {})


def logs(found: Joined) -> list[str]:
    return [msgspec.json.decode(value)["log"] for value in found.values]


@pytest.mark.parametrize(("kinds", "text", "sizes"), TRACES, ids=["java", "node", "python", "go", "all"])
def test_traces(kinds: str, text: str, sizes: list[int]) -> None:
    lines = text.split("\n")
    joined = join(joiner(f"{{traces: [{kinds}]}}"), *map(value, lines))
    assert [text.count("\n") + 1 for text in logs(joined)] == sizes
    assert "\n".join(logs(joined)) == text
    assert joined.lines == {"j": len(lines) - len(sizes)}


def test_the_first_line_gives_key_time_and_fields() -> None:
    lines = [value("Boom: x", level="error"), value("\tat a.B.c(B.java:1)", level="none")]
    joined = join(joiner(), value("before"), *lines)
    assert joined.places == [0, 1]
    assert msgspec.json.decode(joined.values[1])["level"] == "error"


def test_containers_and_streams_are_apart_and_order_stays() -> None:
    a = [value("x.Y: a", pod="a"), value("\tat a.A(A.java:1)", pod="a"), value("\tat a.B(B.java:1)", pod="a")]
    b = [value("x.Y: b", pod="b"), value("\tat b.A(A.java:1)", pod="b")]
    c = [value("x.Y: c", pod="a", stream="stderr"), value("out", pod="a")]
    joined = join(joiner(), a[0], b[0], c[0], a[1], b[1], a[2], c[1])
    assert [text.split("\n")[0] for text in logs(joined)] == ["x.Y: a", "x.Y: b", "x.Y: c", "out"]
    assert [text.count("\n") for text in logs(joined)] == [2, 1, 0, 0]


def test_only_what_is_selected_is_joined() -> None:
    lines = [value("x.Y: a", namespace=name) for name in ("shop", "pay")]
    lines += [value("\tat a.A(A.java:1)", namespace=name) for name in ("shop", "pay")]
    joined = join(joiner(select="{namespace: shop}"), *lines)
    assert [text.count("\n") for text in logs(joined)] == [1, 0, 0]


def test_a_start_of_ones_own() -> None:
    lines = ["rest of before", "2026-01-01 first", "more", "\tand more", "2026-01-02 second", "2026-01-03 third", "x"]
    joined = join(joiner("{start: '^\\d{4}-'}"), *map(value, lines))
    assert logs(joined) == [
        "rest of before",
        "2026-01-01 first\nmore\n\tand more",
        "2026-01-02 second",
        "2026-01-03 third\nx",
    ]


def test_the_line_ends_docker_keeps() -> None:
    lines = [value("x.Y: a\r\n"), value("\tat a.A(A.java:1)\n"), value("\tat a.B(B.java:1)\n")]
    assert logs(join(joiner(), *lines)) == ["x.Y: a\n\tat a.A(A.java:1)\n\tat a.B(B.java:1)\n"]


PARTIAL = [
    ({"logtag": "P"}, {"logtag": "F"}, {"logtag": "F"}),
    ({"_p": "P"}, {"_p": "F"}, {"_p": "F"}),
    (
        {"partial_message": "true", "partial_id": "i", "partial_last": "false"},
        {"partial_message": "true", "partial_last": "true"},
        {},
    ),
    ({"partial_message": True}, {}, {}),
]


@pytest.mark.parametrize(("first", "last", "expected"), PARTIAL, ids=["cri", "fluent bit", "docker", "docker old"])
def test_lines_a_runtime_cut(first: dict[str, Any], last: dict[str, Any], expected: dict[str, Any]) -> None:
    lines = [value("a", **first), value("b", **first), value("c", **last), value("next", **last)]
    joined = join(joiner("{}"), *lines)
    one = msgspec.json.decode(joined.values[0])
    assert logs(joined) == ["abc", "next"]
    assert {name: one[name] for name in one if name.startswith(("partial", "logtag", "_p"))} == expected
    assert joined.lines == {"j": 2}


def test_a_part_whose_end_did_not_come_says_so() -> None:
    joined = join(joiner("{}"), value("a", logtag="P"), value("b", logtag="P"))
    assert logs(joined) == ["ab"]
    assert msgspec.json.decode(joined.values[0])["logtag"] == "P"


def test_cut_lines_of_a_trace() -> None:
    lines = [
        value("x.Y", logtag="P"),
        value(": a", logtag="F"),
        value("\tat ", logtag="P"),
        value("a.A(A.java:1)", logtag="F"),
    ]
    joined = join(joiner(), *lines)
    assert logs(joined) == ["x.Y: a\n\tat a.A(A.java:1)"]
    assert joined.places == [0]


def test_limits_of_lines_and_bytes() -> None:
    frames = [value(f"\tat a.A(A.java:{number})") for number in range(25)]
    joined = join(joiner("{traces: [java], max_lines: 10}"), value("x.Y: a"), *frames)
    assert [text.count("\n") + 1 for text in logs(joined)] == [10, 10, 6]
    joined = join(joiner("{traces: [java], max_bytes: 100}"), value("x.Y: a"), *frames)
    assert max(len(text.encode()) for text in logs(joined)) <= 100
    parts = join(joiner("{max_bytes: 100}"), *(value("x" * 60, logtag="P") for _ in range(4)))
    assert [len(text) for text in logs(parts)] == [60, 60, 60, 60]


def test_what_is_no_record_stays() -> None:
    values = b"{", value("x.Y: a"), b"[]", value("\tat a.A(A.java:1)"), b'{"log":17}'
    joined = join(joiner(), *values)
    assert joined.places == [0, 1, 2, 4]
    assert joined.values[::2] == [b"{", b"[]"]


def test_nothing_to_join_is_nothing_to_do() -> None:
    assert joiner().join([value("a"), value("b")]) is None
    assert joiner(select="{namespace: other}").join(list(map(value, JAVA.split("\n")))) is None
    assert not Joiner(documents("documents: [{name: a, steps: [drop]}]"))


LINES = st.sampled_from([*JAVA.split("\n"), *PYTHON.split("\n"), *GO.split("\n"), "", "plain", " indented", "é\u2028"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(LINES, st.sampled_from("ab"), st.sampled_from(["F", "P"])), max_size=30))
def test_no_text_is_lost_and_what_is_sent_again_is_joined_alike(lines: list[tuple[str, str, str]]) -> None:
    values = [value(text, pod=pod, logtag=tag) for text, pod, tag in lines]
    first = join(joiner(), *values)
    assert join(joiner(), *values) == first
    assert len(first.places) == len(first.values) == len(values) - sum(first.lines.values())
    assert first.places == sorted(set(first.places))
    for pod in "ab":
        mine = [each for each in map(msgspec.json.decode, first.values) if each["kubernetes"]["pod_name"] == pod]
        given = "".join(text for text, of, _ in lines if of == pod)
        assert "".join(each["log"] for each in mine).replace("\n", "") == given.replace("\n", "")
