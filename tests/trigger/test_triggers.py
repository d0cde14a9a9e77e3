"""Which pushes start which pipeline, and what a run goes through: pure."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.base import encode
from schemas.cicd import CicdEvent, PipelineRun
from streams.errors import Invalid, Retryable
from streams.outbox import REPLAY
from streams.record import Outgoing, Record
from streams.settings import Trigger
from streams.sinks.jenkins import RUN_ID, Build, Queued
from streams.state import State
from streams.triggers import EXPIRY_MS, RunEntry, Step, Triggers, glob, matches, run_id_of

START = 1_767_607_200_000
TRIGGER = Trigger(
    name="pay",
    repository="shop/pay",
    branch="main",
    paths=["src/**"],
    job="pay-build",
    parameters={"COMMIT": "{commit}"},
)


def push(**changes: Any) -> CicdEvent:
    event = CicdEvent(
        id="e1",
        type="change.merged",
        source="github/main",
        subject_id="shop/pay@main",
        time_ms=START,
        repository="shop/pay",
        branch="main",
        commit="c1",
        paths=["src/pay.py"],
    )
    return msgspec.structs.replace(event, **changes)


def record(event: CicdEvent, offset: int, headers: list[tuple[str, bytes]] | None = None) -> Record:
    return Record("cicd.events", 0, offset, b"shop/pay@main", encode(event), START, headers)


def runs(outputs: list[Outgoing]) -> list[PipelineRun]:
    return [msgspec.json.decode(o.value or b"", type=PipelineRun) for o in outputs if o.topic == "pipelines.runs"]


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("src/**", "src/a/b.py", True),
        ("src/**", "lib/src/a.py", False),
        ("*.py", "a.py", True),
        ("*.py", "src/a.py", False),
        ("**/*.py", "a.py", True),
        ("**/*.py", "src/x/a.py", True),
        ("release-?", "release-1", True),
        ("release-?", "release-10", False),
        ("a.b", "axb", False),
        ("[x](y)+", "[x](y)+", True),
        ("*", "", True),
        ("feature/*", "feature/a/b", False),
    ],
)
def test_globs(pattern: str, text: str, fits: bool) -> None:
    assert glob(pattern)(text) is fits


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({}, True),
        ({"branch": "dev"}, False),
        ({"repository": "shop/payments"}, False),
        ({"paths": ["docs/a.md"]}, False),
        ({"paths": ["docs/a.md", "src/b.py"]}, True),
        ({"paths": [], "data": {"paths_complete": False}}, True),
        ({"paths": [], "data": {"paths_complete": True}}, False),
        ({"type": "build.finished"}, False),
        ({"commit": ""}, False),
        ({"tenant": "platform"}, True),
        ({"tenant": "acme"}, False),
    ],
)
def test_which_pushes_match(changes: dict[str, Any], fits: bool) -> None:
    assert matches(TRIGGER, push(**changes)) is fits


def test_a_tenants_trigger_waits_for_its_tenants_pushes() -> None:
    theirs = TRIGGER.model_copy(update={"tenant": "acme"})
    assert [matches(theirs, push(tenant=tenant)) for tenant in ("acme", "platform", "", "other")] == [True] + 3 * [
        False
    ]
    state = State[RunEntry]()
    (run,) = runs(list(Triggers([TRIGGER, theirs]).decide(state, record(push(tenant="acme"), 0))))
    assert run.tenant == "acme"
    assert run.run_id != run_id_of(TRIGGER, push()), "another run, however the triggers are called"


def test_three_deliveries_are_one_run() -> None:
    core, state = Triggers([TRIGGER]), State[RunEntry]()
    out = [o for n in range(3) for o in core.decide(state, record(push(id=f"e{n}"), n))]
    (run,) = runs(out)
    assert run.state == "triggered"
    assert run.parameters == {"COMMIT": "c1", RUN_ID: run.run_id}
    assert len(state) == 1


@pytest.mark.parametrize(("named", "expected"), [("", "here"), ("there", "there")])
def test_a_run_names_its_cluster(named: str, expected: str) -> None:
    core, state = Triggers([TRIGGER], "here"), State[RunEntry]()
    (run,) = runs(list(core.decide(state, record(push(cluster=named), 0))))
    assert run.cluster == expected


def test_a_run_goes_through_its_states() -> None:
    core, state = Triggers([TRIGGER]), State[RunEntry]()
    core.decide(state, record(push(), 0))
    key = run_id_of(TRIGGER, push())
    said = [
        *core.asking(state, key, START),
        *core.queued(state, key, Queued(7), START + 1),
        *core.queued(state, key, Queued(7), START + 2),
        *core.queued(state, key, Queued(7, 3, "http://j/job/pay-build/3/"), START + 3),
        *core.built(state, key, Build(3, "http://j/job/pay-build/3/", True, ""), START + 4),
        *core.built(state, key, Build(3, "http://j/job/pay-build/3/", False, "UNSTABLE"), START + 5),
        *core.built(state, key, Build(3, "http://j/job/pay-build/3/", False, "SUCCESS"), START + 6),
    ]
    assert [(run.state, run.updated_at_ms - START) for run in runs(said)] == [
        ("queued", 1),
        ("running", 3),
        ("failed", 5),
    ]
    assert core.due(state, START + EXPIRY_MS * 100) == []


def test_jenkins_away_is_retried_for_a_day_then_a_dead_letter_whose_replay_starts_it() -> None:
    core, state = Triggers([TRIGGER]), State[RunEntry]()
    core.decide(state, record(push(), 4))
    key = run_id_of(TRIGGER, push())
    core.asking(state, key, START)
    assert core.failed(state, key, Retryable("jenkins_away"), START + EXPIRY_MS - 1) == []
    out = core.failed(state, key, Retryable("jenkins_away"), START + EXPIRY_MS)
    assert [run.state for run in runs(out)] == ["failed"]
    (dead,) = [o for o in out if o.topic == "cicd.events.dlq"]
    assert dead.value == encode(push())
    assert list(core.decide(state, record(push(), 5))) == []
    core.decide(state, record(push(), 6, [(REPLAY, b"1")]))
    ((_, entry),) = core.due(state, START)
    # It may have been asked for: whoever goes on looks for it in Jenkins first.
    assert entry.step is Step.ASKED


def test_what_jenkins_will_never_do_is_given_up_at_once() -> None:
    core, state = Triggers([TRIGGER]), State[RunEntry]()
    core.decide(state, record(push(), 0))
    out = core.failed(state, run_id_of(TRIGGER, push()), Invalid("jenkins_404", "no such job"), START)
    (run,) = runs(out)
    assert (run.state, run.reason) == ("failed", "jenkins_404: no such job")


STEPS = st.lists(st.sampled_from(["deliver", "work", "crash before asking", "crash after asking", "away"]), max_size=40)


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_one_build_whatever_happens(steps: list[str]) -> None:
    """`asked` is durable before Jenkins is asked; a crash loses what came after, and Jenkins is looked through then."""
    core, state = Triggers([TRIGGER]), State[RunEntry]()
    key = run_id_of(TRIGGER, push())
    builds = 0
    now = START
    for step in steps:
        now += 60_000
        if step == "deliver":
            core.decide(state, record(push(), 0))
            continue
        for _, entry in core.due(state, now):
            if step == "away":
                core.failed(state, key, Retryable("jenkins_away"), now)
            elif entry.step is Step.ASKED and builds:
                core.queued(state, key, Queued(1), now)
            elif entry.step in (Step.WANTED, Step.ASKED):
                if step == "crash before asking":
                    core.asking(state, key, now)
                    continue
                core.asking(state, key, now)
                builds += 1
                if step == "work":
                    core.queued(state, key, Queued(1), now)
    assert builds <= 1
