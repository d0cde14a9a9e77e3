"""The flow picture: sources, topics and agents as the catalogue declares them, in rows from top to bottom. Pure.

A node's row is one below the lowest of those it gets records from; what only people and other programs feed stands
right above its reader. Within a row nodes stand near those above them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from schemas.catalogue import Topic

NODE_WIDTH, NODE_HEIGHT = 156, 38
COLUMN, ROW = 172, 62
MARGIN = 8
AGENT = re.compile(r"[a-z]+(?:-[a-z]+)+")
LEFT_OUT = frozenset({"gaps", "platform.audit", "platform.control"})
"""Topics the platform keeps about itself: they would hide the way an event takes."""
BACK = frozenset({("alerts", "match-rules"), ("alerts.state", "match-rules")})
"""Rules may look at what rules said: drawn, the way would run in a ring."""
EFFECTS = {
    "index-logs": ("search index",),
    "archive-logs": ("archive",),
    "index-events": ("search index",),
    "deliver-notifications": ("mail, webhooks, …",),
    "trigger-pipelines": ("Jenkins",),
}
"""What agents do to the world outside of Kafka."""


class Shape(StrEnum):
    SOURCE = "source"
    TOPIC = "topic"
    AGENT = "agent"
    EFFECT = "effect"


@dataclass
class Node:
    name: str
    shape: Shape
    label: str = ""
    title: str = ""
    row: int = 0
    x: float = 0
    y: float = 0
    above: list[Node] = field(default_factory=list)

    @property
    def width(self) -> int:
        return NODE_WIDTH

    @property
    def height(self) -> int:
        return NODE_HEIGHT


@dataclass(frozen=True)
class Edge:
    path: str
    start: str
    end: str


@dataclass(frozen=True)
class Picture:
    width: int
    height: int
    nodes: list[Node]
    edges: list[Edge]


def picture(topics: Iterable[Topic]) -> Picture:
    """Where everything stands, in SVG units."""
    nodes, pairs = _graph([topic for topic in topics if topic.name not in LEFT_OUT])
    _rows(nodes, pairs)
    rows: dict[int, list[Node]] = defaultdict(list)
    for node in nodes.values():
        rows[node.row].append(node)
    width = max(len(row) for row in rows.values()) * COLUMN - (COLUMN - NODE_WIDTH) + 2 * MARGIN
    for number in sorted(rows):
        _place(rows[number], width)
    height = max(rows) * ROW + NODE_HEIGHT + 2 * MARGIN
    edges = [Edge(_path(nodes[start], nodes[end]), start, end) for start, end in pairs]
    return Picture(width, height, sorted(nodes.values(), key=lambda node: (node.row, node.x)), edges)


def _graph(topics: Sequence[Topic]) -> tuple[dict[str, Node], list[tuple[str, str]]]:
    nodes: dict[str, Node] = {}
    pairs: list[tuple[str, str]] = []
    for topic in topics:
        nodes[topic.name] = Node(topic.name, Shape.TOPIC, topic.name, topic.record)
        outside = [producer for producer in topic.producers if not AGENT.fullmatch(producer)]
        if outside:
            name = "from " + ", ".join(outside)
            more = f" +{len(outside) - 1}" if len(outside) > 1 else ""
            nodes.setdefault(name, Node(name, Shape.SOURCE, _brief(outside[0]) + more, "\n".join(outside)))
            pairs.append((name, topic.name))
        for agent in filter(AGENT.fullmatch, topic.producers):
            nodes.setdefault(agent, Node(agent, Shape.AGENT, agent, f"agent {agent}"))
            pairs.append((agent, topic.name))
        for agent in filter(AGENT.fullmatch, topic.consumers):
            if agent not in topic.producers and (topic.name, agent) not in BACK:
                nodes.setdefault(agent, Node(agent, Shape.AGENT, agent, f"agent {agent}"))
                pairs.append((topic.name, agent))
    for agent, effects in EFFECTS.items():
        for effect in effects if agent in nodes else ():
            nodes.setdefault(effect, Node(effect, Shape.EFFECT, effect, effect))
            pairs.append((agent, effect))
    return nodes, pairs


def _rows(nodes: dict[str, Node], pairs: Sequence[tuple[str, str]]) -> None:
    """One below the lowest above, as often as there are nodes: a ring, if one were declared, ends there."""
    for _ in nodes:
        changed = False
        for start, end in pairs:
            if nodes[end].row <= nodes[start].row < len(nodes):
                nodes[end].row, changed = nodes[start].row + 1, True
        if not changed:
            break
    for start, end in pairs:
        nodes[end].above.append(nodes[start])
    for shape in (Shape.TOPIC, Shape.SOURCE):
        for node in nodes.values():
            fed = any(above.shape is Shape.AGENT for above in node.above)
            below = [nodes[end].row for start, end in pairs if start == node.name]
            if node.shape is shape and below and not fed:
                node.row = max(0, min(below) - 1)


def _place(row: list[Node], width: int) -> None:
    def wanted(node: Node) -> float:
        known = [above.x for above in node.above if above.x]
        return sum(known) / len(known) if known else width / 2

    row.sort(key=lambda node: (wanted(node), node.name))
    left = (width - (len(row) * COLUMN - (COLUMN - NODE_WIDTH))) / 2
    for number, node in enumerate(row):
        node.x = left + number * COLUMN
        node.y = MARGIN + node.row * ROW


def _path(start: Node, end: Node) -> str:
    x1, y1 = start.x + NODE_WIDTH / 2, start.y + NODE_HEIGHT
    x2, y2 = end.x + NODE_WIDTH / 2, end.y
    middle = (y2 - y1) / 2
    return f"M{x1:.0f},{y1:.0f} C{x1:.0f},{y1 + middle:.0f} {x2:.0f},{y2 - middle:.0f} {x2:.0f},{y2:.0f}"


def _brief(source: str) -> str:
    return source.replace("POST /hooks/", "hook ").replace("/{id}", "").replace("POST ", "")
