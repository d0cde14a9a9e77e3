"""Matchers, routes and group keys are Alertmanager's, to the letter."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from schemas.alerting import InhibitRule
from schemas.alerts import AlertState, Matcher, Silence, Status, fingerprint
from schemas.base import encode
from streams.alerting import parse
from streams.matching import matches, parse_matcher, parse_matchers, render
from streams.muting import Inhibitor, Phase, active, phase, silenced_by, wrong_silence
from streams.routing import destinations, routes_of
from streams.silences import Reading
from tests.parts.monitoring import amtool
from tests.parts.process import Missing
from tests.parts.session import missing

_replace = msgspec.structs.replace


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=b", Matcher(name="a", value="b")),
        (' a = "b" ', Matcher(name="a", value="b")),
        ("a!=b", Matcher(name="a", value="b", is_equal=False)),
        ('a=~"b|c"', Matcher(name="a", value="b|c", is_regex=True)),
        ("a!~b.*", Matcher(name="a", value="b.*", is_regex=True, is_equal=False)),
        (r'a="q\"\\\n\x"', Matcher(name="a", value='q"\\\n\\x')),
        ("a=", Matcher(name="a", value="")),
    ],
)
def test_a_matcher_is_read(text: str, expected: Matcher) -> None:
    assert parse_matcher(text) == expected
    assert parse_matcher(render(expected)) == expected


@pytest.mark.parametrize("text", ["", "a", "=b", "1a=b", 'a="b', 'a=b"', 'a="b"c"', "a=~(", "a=~(?=b)", r"a=~(b)\1"])
def test_what_is_no_matcher(text: str) -> None:
    with pytest.raises(ValueError, match=r"matcher|regular expression"):
        parse_matcher(text)


def test_several_matchers_are_separated_by_commas_outside_quotes() -> None:
    assert [render(each) for each in parse_matchers('{a="b,c", d=~"e"}')] == ['a="b,c"', 'd=~"e"']


def test_expressions_are_anchored_and_absent_is_empty() -> None:
    assert matches(parse_matchers("a=~b"), {"a": "b"})
    assert not matches(parse_matchers("a=~b"), {"a": "abc"})
    assert matches(parse_matchers('a="",b!=x,c!~"y"'), {})
    assert not matches(parse_matchers("a=~.+"), {})


def test_no_pattern_takes_long() -> None:
    matcher = parse_matchers("a=~(x+x+)+y")
    started = time.process_time()
    assert not matches(matcher, {"a": "x" * 5000})
    assert time.process_time() - started < 5


names = st.sampled_from(["a", "b", "c"])
labels = st.dictionaries(names, st.sampled_from(["1", "2", "x y", 'q"', "é"]), max_size=3)


@settings(deadline=None)
@given(st.dictionaries(st.text("ab_", min_size=1, max_size=4), st.text(max_size=8), max_size=5))
def test_fingerprints_ignore_order(pairs: dict[str, str]) -> None:
    assert fingerprint(pairs) == fingerprint(dict(reversed(list(pairs.items()))))


TREE = """\
route:
  receiver: r0
  group_by: [a]
  routes:
    - matchers: ['a=~"1|2"']
      receiver: r1
      continue: true
      routes:
        - matchers: [b="1"]
          receiver: r2
        - matchers: ['b!="1"', 'c=""']
          receiver: r3
    - matchers: [a="1"]
      receiver: r4
      group_by: ['...']
    - match_re: {b: ".*"}
      match: {c: 'q"'}
      receiver: r5
receivers: [{name: r0}, {name: r1}, {name: r2}, {name: r3}, {name: r4}, {name: r5}]
"""


def test_routes_are_those_amtool_says(tmp_path: Path) -> None:
    try:
        program = amtool()
    except Missing as error:
        missing("alertmanager", str(error))
    file = tmp_path / "am.yml"
    file.write_text(TREE, "utf-8")
    root = parse(TREE).route
    for a in ("", "1", "2", "3"):
        for b in ("", "1", "2"):
            for c in ("", "x"):
                pairs = {name: value for name, value in (("a", a), ("b", b), ("c", c)) if value}
                command = [program, "config", "routes", "test", f"--config.file={file}"]
                command += [f"{name}={value}" for name, value in pairs.items()]
                said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
                assert ",".join(route.receiver for route in routes_of(root, pairs)) == said.strip()


def test_group_keys_are_alertmanagers() -> None:
    found = destinations(parse(TREE).route, {"a": "1", "b": "1", "x": 'q"'})
    assert [each.group_key for each in found] == [
        '{}/{a=~"1|2"}/{b="1"}:{a="1"}',
        r'{}/{a="1"}:{a="1", b="1", x="q\""}',
    ]


def _alert(labels: dict[str, str], tenant: str = "platform", state: Status = Status.FIRING) -> AlertState:
    return AlertState(
        tenant=tenant,
        fingerprint=fingerprint(labels),
        episode="e",
        state=state,
        labels=labels,
        starts_at_ms=1,
        updated_at_ms=1,
        seq=1,
    )


def _silence(text: str, tenant: str = "", **more: int) -> Silence:
    times: dict[str, Any] = {"starts_at_ms": 100, "ends_at_ms": 200} | more
    return Silence(id=text, matchers=parse_matchers(text), created_by="a", updated_at_ms=0, tenant=tenant, **times)


def test_a_silence_holds_from_start_to_end() -> None:
    silence = _silence("a=b")
    assert [phase(silence, now) for now in (99, 100, 199, 200)] == [
        Phase.PENDING,
        Phase.ACTIVE,
        Phase.ACTIVE,
        Phase.EXPIRED,
    ]
    assert [active([silence], now) for now in (99, 100, 200)] == [[], [silence], []]


def test_a_tenants_silence_covers_its_own_alerts_only() -> None:
    silences = [_silence("a=b", "shop"), _silence("a=~b")]
    assert silenced_by(_alert({"a": "b"}, "shop"), silences) == ["a=b", "a=~b"]
    assert silenced_by(_alert({"a": "b"}, "other"), silences) == ["a=~b"]
    assert silenced_by(_alert({"a": "c"}, "shop"), silences) == []


def test_a_silence_that_cannot_hold_is_left_out() -> None:
    """The topic is open to other producers: what the API refuses may be on it all the same."""
    good, bad, all_ = _silence("a=b"), [Matcher(name="a", value="(", is_regex=True)], Matcher(name="a", value=".*")
    wrong = [_replace(good, matchers=each) for each in (bad, [], [_replace(all_, is_regex=True)])]
    assert active([*wrong, good], 150) == [good]
    assert silenced_by(_alert({"a": "b"}), active([*wrong, good], 150)) == ["a=b"]


def test_a_silence_that_cannot_hold_is_counted_and_told_once() -> None:
    def counted() -> float:
        return REGISTRY.get_sample_value("eventsphere_wrong_silences_total") or 0.0

    reading, before = Reading(), counted()
    good, bad = _silence("a=b"), _replace(_silence("a=b"), id="bad", matchers=[])
    with capture_logs() as told:
        assert [reading(encode(each)) for each in (good, bad, bad)] == [good, bad, bad]
    assert counted() - before == 2
    assert [(each["event"], each["silence"]) for each in told] == [("silence.left_out", "bad")]
    assert "at least one matcher" in told[0]["reason"]


def test_wrong_silences() -> None:
    assert not wrong_silence(_silence("a=b"))
    assert "at least one matcher" in wrong_silence(_silence(""))
    assert "empty string" in wrong_silence(_silence('a=~".*",b!=c'))
    assert "before end" in wrong_silence(_silence("a=b", ends_at_ms=100))


def _rule(source: str, target: str, *equal: str) -> InhibitRule:
    return InhibitRule(source=parse_matchers(source), target=parse_matchers(target), equal=list(equal))


def test_inhibition() -> None:
    cause, other = _alert({"s": "crit", "c": "1"}), _alert({"s": "crit", "c": "2"})
    effect = _alert({"s": "warn", "c": "1"})
    rules = [_rule("s=crit", "s=warn", "c")]
    assert Inhibitor(rules, [cause, other, effect]).inhibited_by(effect) == [cause.fingerprint]
    assert Inhibitor(rules, [other]).inhibited_by(effect) == []
    assert Inhibitor(rules, [cause]).inhibited_by(cause) == []
    assert Inhibitor(rules, [_alert({"s": "crit", "c": "1"}, "shop")]).inhibited_by(effect) == []
    resolved = _alert({"s": "crit", "c": "1"}, state=Status.RESOLVED)
    assert Inhibitor(rules, [resolved]).inhibited_by(effect) == []


def test_an_alert_on_both_sides_does_not_inhibit_itself() -> None:
    both, source = _alert({"a": "1"}), _alert({"a": "1", "b": "1"})
    assert Inhibitor([_rule("a=1", "a=1")], [both, source]).inhibited_by(both) == []
    assert Inhibitor([_rule("a=1", 'b=""')], [both, source]).inhibited_by(both) == [source.fingerprint]


def test_fingerprints_are_prometheus() -> None:
    """Values of a real Alertmanager 0.25."""
    known = {"8d4653b8b9db0024": {"ok": "1"}}
    assert json.dumps({fingerprint(pairs): pairs for pairs in known.values()}) == json.dumps(known)
