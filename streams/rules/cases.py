"""The `tests` of a rule: records over time and the alerts expected of them, read from YAML and compared. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from schemas.alerts import NO_TENANT, Alert
from schemas.base import encode
from schemas.rule_document import Expected, Rule, RuleTest
from streams.record import Record
from streams.rules.alert import duration
from streams.rules.inputs import INPUTS
from streams.yaml_nodes import Node

START_MS = 1_767_607_200_000
"""When every test begins: 2026-01-05T10:00:00Z."""
MAX_RECORDS = 10_000
TESTED = ("name", "records", "alerts")


def tests_of(node: Node) -> tuple[RuleTest, ...]:
    return tuple(_test(item, number) for number, item in enumerate(node.items(), 1))


def _test(node: Node, number: int) -> RuleTest:
    fields = node.known(TESTED)
    records: list[tuple[int, dict[str, Any], str]] = []
    for item in fields["records"].items() if "records" in fields else ():
        records += _records(item)
        if len(records) > MAX_RECORDS:
            item.fail(f"more than {MAX_RECORDS} records")
            break
    for name in ("records", "alerts"):
        if name not in fields:
            node.fail(f"expected {name}: a list" + (", [] for none" if name == "alerts" else ""))
    return RuleTest(
        name=fields["name"].text() if "name" in fields else f"test {number}",
        records=tuple((at_ms, record) for at_ms, record, _ in sorted(records, key=lambda each: each[0])),
        inputs=tuple(topic for _, _, topic in sorted(records, key=lambda each: each[0])),
        alerts=tuple(_expected(item) for item in fields["alerts"].items()) if "alerts" in fields else (),
        line=node.line,
    )


def _records(node: Node) -> list[tuple[int, dict[str, Any], str]]:
    """One record, or the same one `times` times, `every` so often; of the rule's (first) input, or of the one named."""
    fields = node.known(("at", "times", "every", "input", "record"))
    topic = fields["input"].text() if "input" in fields else ""
    if topic and topic not in INPUTS:
        fields["input"].fail(f"expected one of {', '.join(INPUTS)}")
    at_ms = fields["at"].duration_ms() if "at" in fields else 0
    every_ms = fields["every"].duration_ms() if "every" in fields else 1000
    times = fields["times"].number() if "times" in fields else 1
    record = fields["record"].value() if "record" in fields else None
    if not isinstance(record, dict):
        node.fail("expected record: the fields of a record")
        return []
    if times > MAX_RECORDS:
        fields["times"].fail(f"expected at most {MAX_RECORDS}")
        return []
    return [(at_ms + turn * every_ms, record, topic) for turn in range(times)]


def _expected(node: Node) -> Expected:
    fields = node.known(("from", "until", "labels", "annotations"))
    if "from" not in fields:
        node.fail("expected from: when the alert begins, since the test does")
    return Expected(
        from_ms=fields["from"].duration_ms() if "from" in fields else 0,
        until_ms=fields["until"].duration_ms() if "until" in fields else -1,
        labels=fields["labels"].texts() if "labels" in fields else {},
        annotations=fields["annotations"].texts() if "annotations" in fields else {},
    )


def records_of(rule: Rule, test: RuleTest) -> list[Record]:
    """As they would come from Kafka."""
    out = []
    for number, (at_ms, record) in enumerate(test.records):
        time_ms, id_ = START_MS + at_ms, f"test-{number}"
        topic = (test.inputs[number] if test.inputs else "") or rule.input
        value = _OWN.get(topic, _timed)(id_, time_ms) | record
        out.append(Record(topic, 0, number, id_.encode(), encode(value), time_ms))
    return out


def _timed(id_: str, time_ms: int) -> dict[str, Any]:
    return {"id": id_, "time_ms": time_ms}


_OWN: dict[str, Callable[[str, int], dict[str, Any]]] = {
    "logs": lambda _id, _ms: {},
    "kube.audit": lambda id_, ms: {"auditID": id_, "stage": "ResponseComplete", "time_ms": ms},
    "alerts": lambda id_, ms: {
        "fingerprint": id_, "tenant": NO_TENANT, "source": "test", "starts_at_ms": ms, "observed_at_ms": ms,
    },
    "alerts.state": lambda id_, ms: {"episode": id_, "seq": 1, "updated_at_ms": ms},
}  # fmt: skip
"""What a record has by itself: an id and a time."""


class Episode(NamedTuple):
    """One alert from begin to end, as last observed; `until_ms` 0: it still fires."""

    name: str
    fingerprint: str
    from_ms: int
    until_ms: int
    labels: dict[str, str]
    annotations: dict[str, str]
    records: int
    """How many of its records are known as evidence."""


def episodes_of(alerts: Iterable[Alert]) -> list[Episode]:
    """What a list of observations comes to, in order of time."""
    found: dict[tuple[str, int], Episode] = {}
    for alert in alerts:
        key = alert.fingerprint, alert.starts_at_ms
        evidence = len(alert.evidence)
        annotations = alert.annotations or (found[key].annotations if key in found else {})
        name = alert.labels.get("alertname", "")
        found[key] = Episode(name, *key, alert.ends_at_ms, alert.labels, annotations, evidence)
    return sorted(found.values(), key=lambda each: (each.from_ms, each.name, each.fingerprint))


def compared(test: RuleTest, found: list[Episode]) -> list[str]:
    """What is not as the test says; each expected alert takes the first that is like it."""
    left = list(found)
    wrong: list[str] = []
    for expected in test.alerts:
        like = next((each for each in left if _like(expected, each)), None)
        if like is None:
            wrong.append(f"missing: {_told(expected)}")
        else:
            left.remove(like)
    return wrong + [f"not expected: {_shown(each)}" for each in left]


def _like(expected: Expected, found: Episode) -> bool:
    return (
        found.from_ms - START_MS == expected.from_ms
        and (expected.until_ms < 0 or found.until_ms - START_MS == expected.until_ms)
        and expected.labels.items() <= found.labels.items()
        and expected.annotations.items() <= found.annotations.items()
    )


def _told(expected: Expected) -> str:
    until = f" until {duration(expected.until_ms)}" if expected.until_ms >= 0 else ""
    more = expected.labels | expected.annotations
    return f"an alert from {duration(expected.from_ms)}{until}{_named(more)}"


def _shown(found: Episode) -> str:
    until = f"until {duration(found.until_ms - START_MS)}" if found.until_ms else "without an end"
    return f"an alert from {duration(found.from_ms - START_MS)} {until}{_named(found.labels | found.annotations)}"


def _named(values: dict[str, str]) -> str:
    return " with " + ", ".join(f"{name}={value!r}" for name, value in values.items()) if values else ""
