"""The pictures of the console and how it writes things, apart from any page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from console import charts, lines, rendering
from console.flow import LEFT_OUT, Shape, picture
from schemas.catalogue import Topic, declared


def test_the_flow_shows_every_topic_and_runs_downwards() -> None:
    drawn = picture(declared().values())
    nodes = {node.name: node for node in drawn.nodes}
    assert {name for name, node in nodes.items() if node.shape is Shape.TOPIC} == declared().keys() - LEFT_OUT
    assert all(nodes[edge.start].y < nodes[edge.end].y for edge in drawn.edges)
    assert nodes["logs"].row < nodes["rules.matches"].row < nodes["alerts"].row < nodes["notifications"].row
    places = [(node.row, node.x) for node in drawn.nodes]
    assert len(places) == len(set(places))
    assert all(node.x >= 0 and node.x + node.width <= drawn.width for node in drawn.nodes)


def test_a_ring_of_topics_still_gets_a_picture() -> None:
    ring = [
        Topic(name="a", key="", record="", schema="x", producers=["agent-two"], consumers=["agent-one"]),
        Topic(name="b", key="", record="", schema="x", producers=["agent-one"], consumers=["agent-two"]),
    ]
    assert len(picture(ring).nodes) == 4


def test_bars_keep_their_proportions_and_one_record_is_seen() -> None:
    drawn = charts.bars([(0, 1000), (60, 500), (120, 1), (180, 0)], 60)
    assert [bar.height for bar in drawn] == [charts.HEIGHT, charts.HEIGHT / 2, charts.LEAST, 0]
    assert drawn[1].end_ms == 120


@pytest.mark.parametrize(
    ("record", "text", "level"),
    [
        ({"log": "GET / 200\n"}, "GET / 200", ""),
        ({"log": "Error: no space"}, "Error: no space", "error"),
        ({"log": "WARN slow"}, "WARN slow", "warning"),
        ({"log": '{"level": "error", "msg": "no space", "disk": 1}'}, "ERROR no space disk=1", "error"),
        ({"log": '{"broken'}, '{"broken', ""),
        ({"log": {"a": 1}}, '{"a": 1}', ""),
        ({"message": "hello"}, "hello", ""),
        ({"x": 1}, '{"x": 1}', ""),
        ({"log": 7}, "7", ""),
    ],
)
def test_a_record_reads_as_a_line(record: dict[str, object], text: str, level: str) -> None:
    shown = lines.shown({"record": record})
    assert (shown["text"], shown["level"]) == (text, level)


@pytest.mark.parametrize(("ms", "text"), [(0, "0s"), (1500, "1s"), (5_400_000, "1h 30m"), (90_000_000, "1d 1h")])
def test_spans(ms: int, text: str) -> None:
    assert rendering.span(ms) == text


def test_no_page_needs_inline_script_or_style() -> None:
    """The content security policy forbids both, so a template that had some would be broken."""
    for file in (Path(rendering.FOLDER) / "templates").glob("*.html"):
        text = file.read_text("utf-8")
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", text), file.name


def test_only_our_own_files_are_static() -> None:
    assert rendering.static("console.css") is not None
    for name in ("../rendering.py", "/etc/passwd", "", "nothing.css"):
        assert rendering.static(name) is None
