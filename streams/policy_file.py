"""Reading the document of policies beside an alertmanager.yml: every complaint with file, line and field.

repeat:
- {matchers: [severity="info"], never: true}
- {matchers: [severity="warning"], every: 15m, factor: 2, max: 8h, times: 10}
digest:
- {name: daily, matchers: [severity="info"], every: 1d}
quiet_hours:
- name: night
  receivers: [team]
  times: [{times: [{start_time: "22:00", end_time: "24:00"}], location: Europe/Berlin}]
  but: [severity="critical"]
escalate:
- {name: lead, matchers: [severity="critical"], after: 15m, to: boss}
inhibit_levels: {source: [severity="critical"]}
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from schemas.alerting import AlertingConfig
from schemas.alerts import Matcher
from schemas.policies import DigestPolicy, Escalation, Policies, QuietHours, RepeatPolicy
from streams import time_intervals
from streams.matching import parse_matchers
from streams.policies import by_level
from streams.yaml_nodes import Errors, Node, read

P = TypeVar("P", DigestPolicy, QuietHours, Escalation)
DAY_MS = 86_400_000
MAX_FACTOR = 100


def apply(path: str, config: AlertingConfig) -> tuple[AlertingConfig, str]:
    """`config` with the policies of the file, and what is wrong with them, a line each."""
    errors = Errors(path)
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return config, f"{path}: cannot be read: {error}"
    root = read(text, path, errors)
    if root is not None:
        config = _applied(root, config)
    return config, str(errors)


def _applied(root: Node, config: AlertingConfig) -> AlertingConfig:
    fields = root.known(("repeat", "digest", "quiet_hours", "escalate", "inhibit_levels"))
    receivers = {each.name for each in config.receivers}
    policies = Policies(
        repeat=[_repeat(item) for item in _items(fields, "repeat")],
        digest=_named(fields, "digest", lambda node, name: _digest(node, name, receivers)),
        quiet_hours=_named(fields, "quiet_hours", lambda node, name: _quiet(node, name, receivers)),
        escalate=_named(fields, "escalate", lambda node, name: _escalation(node, name, receivers)),
    )
    rules = config.inhibit_rules
    if "inhibit_levels" in fields:
        source = fields["inhibit_levels"].known(("source",))
        if "source" not in source:
            fields["inhibit_levels"].fail("expected source: matchers of the alerts that mute those of pods")
        rules = [*rules, *by_level(_matchers(source.get("source")))]
    return msgspec.structs.replace(config, policies=policies, inhibit_rules=rules)


def _items(fields: dict[str, Node], name: str) -> list[Node]:
    return list(fields[name].items()) if name in fields else []


def _named(fields: dict[str, Node], kind: str, make: Callable[[Node, str], P]) -> list[P]:
    out: list[P] = []
    for item in _items(fields, kind):
        given = item.fields()
        name = given["name"].text() if "name" in given else ""
        if not name or len(name) > 100 or not name.isprintable():
            item.fail("expected a name")
        elif any(name == each.name for each in out):
            given["name"].fail(f"the name {name!r} is taken")
        out.append(make(item, name))
    return out


def _matchers(node: Node | None, *, needed: bool = True) -> list[Matcher]:
    out: list[Matcher] = []
    for item in node.items() if node else ():
        out += item.checked(parse_matchers, [])
    if node is not None and needed and not out:
        node.fail("expected at least one matcher")
    return out


def _wanted(fields: dict[str, Node], node: Node, name: str) -> Node | None:
    if name not in fields:
        node.fail(f"expected {name}")
    return fields.get(name)


def _positive(node: Node | None) -> int:
    value = node.duration_ms() if node else 0
    if node and value <= 0:
        node.fail("must be longer than nothing")
    return value


def _repeat(node: Node) -> RepeatPolicy:
    fields = node.known(("matchers", "never", "every", "factor", "max", "times"))
    never = "never" in fields and fields["never"].flag()
    if never is ("every" in fields):
        node.fail("expected one of every: a duration, or never: true")
    factor = fields["factor"].number() if "factor" in fields else 1
    if not 1 <= factor <= MAX_FACTOR:
        fields["factor"].fail(f"expected 1 to {MAX_FACTOR}")
    return RepeatPolicy(
        matchers=_matchers(_wanted(fields, node, "matchers")),
        every_ms=0 if never else _positive(fields.get("every")),
        factor=factor,
        max_ms=_positive(fields.get("max")),
        times=fields["times"].number() if "times" in fields else 0,
    )


def _receivers(node: Node | None, known: set[str]) -> list[str]:
    return [_receiver(item, known) for item in node.items()] if node else []


def _receiver(node: Node | None, known: set[str]) -> str:
    name = node.text() if node else ""
    if node and name not in known:
        node.fail(f"no receiver named {name!r}; there are: {', '.join(sorted(known))}")
    return name


def _digest(node: Node, name: str, known: set[str]) -> DigestPolicy:
    fields = node.known(("name", "matchers", "every", "receivers"))
    every = _wanted(fields, node, "every")
    every_ms = _positive(every)
    if every and every_ms > 0 and (every_ms < 1000 or (DAY_MS % every_ms and every_ms % DAY_MS)):
        every.fail("expected days, or what a day is made of: 15m, 1h, 8h, 1d, 1w")
    return DigestPolicy(
        name=name,
        matchers=_matchers(_wanted(fields, node, "matchers")),
        every_ms=every_ms or DAY_MS,
        receivers=_receivers(fields.get("receivers"), known),
    )


def _quiet(node: Node, name: str, known: set[str]) -> QuietHours:
    fields = node.known(("name", "receivers", "times", "but"))
    times = _wanted(fields, node, "times")
    return QuietHours(
        name=name,
        receivers=_receivers(_wanted(fields, node, "receivers"), known),
        spans=[time_intervals.span(item) for item in times.items()] if times else [],
        but=_matchers(fields.get("but")),
    )


def _escalation(node: Node, name: str, known: set[str]) -> Escalation:
    fields = node.known(("name", "matchers", "after", "to", "repeat"))
    return Escalation(
        name=name,
        matchers=_matchers(_wanted(fields, node, "matchers")),
        after_ms=_positive(_wanted(fields, node, "after")),
        to=_receiver(_wanted(fields, node, "to"), known),
        repeat_ms=_positive(fields.get("repeat")) or 3_600_000,
    )
