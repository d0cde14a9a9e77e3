"""Which pushes start which pipeline, and how far each run is. Pure: the keyed state of trigger-pipelines.

A run's id is a function of trigger and commit, so three deliveries of a push are one run. Before Jenkins is asked the
run is marked `asked`, durably: whoever finds it so after a crash looks for it in Jenkins before asking again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from functools import lru_cache

import msgspec
import re2

from schemas.alerts import NO_TENANT
from schemas.base import UNREADABLE, Event, digest, encode
from schemas.cicd import CicdEvent, PipelineRun, RunState
from schemas.headers import cloud_headers
from streams.dead_letters import letter
from streams.errors import Failure, Invalid
from streams.outbox import REPLAY, is_replay
from streams.record import Outgoing, Record
from streams.settings import Trigger
from streams.sinks.jenkins import RUN_ID, Build, Queued
from streams.state import State

AGENT = "trigger-pipelines"
TOPIC = "cicd.events"
RUNS = "pipelines.runs"
BACKOFF_MS = (1_000, 2_000, 5_000, 15_000, 60_000, 300_000)
POLL_MS = 2_000
EXPIRY_MS = 24 * 3_600_000
"""How long Jenkins is asked for a build before the event becomes a dead letter."""
LOST_MS = 7 * 24 * 3_600_000
"""How long a run is followed."""
SETTLE_MS = 5_000
"""How long after a request that may have reached Jenkins its queue is trusted to show it."""
REMEMBER_MS = 30 * 24 * 3_600_000
REMEMBER = 5_000
_RESULTS = {"SUCCESS": RunState.SUCCEEDED, "UNSTABLE": RunState.FAILED, "FAILURE": RunState.FAILED}


class Step(StrEnum):
    WANTED = "wanted"
    ASKED = "asked"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    GIVEN_UP = "given_up"


OVER = (Step.DONE, Step.GIVEN_UP)


class RunEntry(Event, frozen=True, kw_only=True):
    """One run. `record` and `partition`, `offset`: the event it came from, kept until Jenkins has the build."""

    run: PipelineRun
    step: Step = Step.WANTED
    record: CicdEvent | None = None
    partition: int
    offset: int
    accepted_at_ms: int
    asked_at_ms: int = 0
    queue_id: int = 0
    build: int = 0
    attempts: int = 0
    next_at_ms: int = 0


class Triggers:
    version = 1
    entry = RunEntry

    def __init__(self, triggers: Sequence[Trigger], cluster: str = "") -> None:
        """`cluster`: of events that do not name theirs."""
        self._triggers = list(triggers)
        self._cluster = cluster

    def decide(self, state: State[RunEntry], record: Record) -> Iterable[Outgoing]:
        event = parse(record)
        out = []
        for trigger in self._triggers:
            if not matches(trigger, event):
                continue
            run_id = run_id_of(trigger, event)
            known = state.get(run_id)
            again = known is not None and known.step is Step.GIVEN_UP and is_replay(record)
            if known is not None and not (again and record.offset > known.offset):
                continue  # known; only a replayed dead letter starts again what was given up
            run = _run(trigger, event, run_id, record.timestamp_ms, event.cluster or self._cluster)
            asked = known.asked_at_ms if known else 0
            state[run_id] = RunEntry(
                run=run,
                step=Step.ASKED if asked else Step.WANTED,
                record=event,
                partition=record.partition,
                offset=record.offset,
                accepted_at_ms=record.timestamp_ms,
                asked_at_ms=asked,
            )
            out.append(outgoing(run))
        return out

    def tick(self, state: State[RunEntry], now_ms: int) -> Iterable[Outgoing]:
        """Forget runs that ended long ago."""
        over = sorted((entry.run.updated_at_ms, key) for key, entry in state.items() if entry.step in OVER)
        surplus = len(over) - REMEMBER
        for index, (at, key) in enumerate(over):
            if index >= surplus and now_ms - at < REMEMBER_MS:
                break
            del state[key]
        return []

    def due(self, state: State[RunEntry], now_ms: int, limit: int = 64) -> list[tuple[str, RunEntry]]:
        """Runs that have something to be done about now, the longest waiting first."""
        ready = [(k, e) for k, e in state.items() if e.step not in OVER and e.next_at_ms <= now_ms]
        ready.sort(key=lambda item: item[1].next_at_ms)
        return ready[:limit]

    # What happened to a run. Each takes the run's key and returns what to publish.

    def asking(self, state: State[RunEntry], key: str, now_ms: int) -> list[Outgoing]:
        """Jenkins is about to be asked."""
        return self._move(state, key, now_ms, step=Step.ASKED, asked_at_ms=now_ms)

    def queued(self, state: State[RunEntry], key: str, item: Queued, now_ms: int) -> list[Outgoing]:
        """Jenkins has it: in the queue, or already building."""
        if item.cancelled:
            return self._end(state, key, RunState.ABORTED, "cancelled in Jenkins's queue", now_ms)
        step, wanted = (Step.RUNNING, RunState.RUNNING) if item.build else (Step.QUEUED, RunState.QUEUED)
        return self._move(
            state,
            key,
            now_ms,
            state_=wanted,
            build_url=item.url,
            step=step,
            record=None,
            queue_id=item.id,
            build=item.build,
            attempts=0,
            next_at_ms=now_ms + POLL_MS,
        )

    def built(self, state: State[RunEntry], key: str, build: Build, now_ms: int) -> list[Outgoing]:
        if build.building or not build.result:
            return self._move(
                state,
                key,
                now_ms,
                state_=RunState.RUNNING,
                build_url=build.url,
                attempts=0,
                next_at_ms=now_ms + POLL_MS,
            )
        ended = _RESULTS.get(build.result, RunState.ABORTED)
        return self._end(state, key, ended, build.result, now_ms, build_url=build.url)

    def failed(self, state: State[RunEntry], key: str, failure: Failure, now_ms: int) -> list[Outgoing]:
        """Asking or looking failed: again later, or given up with a dead letter."""
        entry = state.get(key)
        if entry is None or entry.step in OVER:
            return []
        started = entry.step not in (Step.WANTED, Step.ASKED)
        age = now_ms - entry.accepted_at_ms
        if not isinstance(failure, Invalid) and age < (LOST_MS if started else EXPIRY_MS):
            wait = BACKOFF_MS[min(entry.attempts, len(BACKOFF_MS) - 1)]
            return self._move(state, key, now_ms, attempts=entry.attempts + 1, next_at_ms=now_ms + wait)
        if started:
            return self._end(state, key, RunState.ABORTED, f"lost sight of it: {failure}"[:500], now_ms)
        event, record = entry.record, _record(entry)
        out = self._move(
            state, key, now_ms, state_=RunState.FAILED, reason=str(failure)[:500], step=Step.GIVEN_UP, record=None
        )
        if event is not None:
            dead = letter(record, agent=AGENT, reason=failure.reason, detail=failure.detail, attempt=entry.attempts + 1)
            out.append(dead)
        return out

    def _end(
        self, state: State[RunEntry], key: str, ended: RunState, reason: str, now_ms: int, build_url: str = ""
    ) -> list[Outgoing]:
        return self._move(
            state, key, now_ms, state_=ended, reason=reason, build_url=build_url, step=Step.DONE, record=None
        )

    def _move(
        self,
        state: State[RunEntry],
        key: str,
        now_ms: int,
        *,
        state_: RunState | None = None,
        reason: str = "",
        build_url: str = "",
        **changes: object,
    ) -> list[Outgoing]:
        """Change a run's entry; publishes the run when its public state changed."""
        entry = state.get(key)
        if entry is None or entry.step in OVER:
            return []
        run = _replace(
            entry.run,
            state=state_ or entry.run.state,
            reason=reason or entry.run.reason,
            build_url=build_url or entry.run.build_url,
        )
        changed = run != entry.run
        if changed:
            run = _replace(run, updated_at_ms=now_ms)
        state[key] = _replace(entry, run=run, **changes)
        return [outgoing(run)] if changed else []


_replace = msgspec.structs.replace
_decoder = msgspec.json.Decoder(CicdEvent)


def parse(record: Record) -> CicdEvent:
    """Raises Invalid("decode")."""
    try:
        return _decoder.decode(record.value or b"")
    except UNREADABLE as error:
        raise Invalid("decode", str(error)) from error


def run_id_of(trigger: Trigger, event: CicdEvent) -> str:
    """Tenants may give triggers the same name."""
    whose = () if trigger.tenant == NO_TENANT else (trigger.tenant,)
    return digest(*whose, trigger.name, event.repository, event.branch, event.commit)


def matches(trigger: Trigger, event: CicdEvent) -> bool:
    """Whether `event` is a push the trigger waits for, and its tenant's: anybody may name a repository as another does.
    A push that does not name all its paths passes any of them."""
    if event.type != "change.merged" or not event.commit or (event.tenant or NO_TENANT) != trigger.tenant:
        return False
    if not (glob(trigger.repository)(event.repository) and glob(trigger.branch)(event.branch)):
        return False
    if not trigger.paths or event.data.get("paths_complete") is False:
        return True
    return any(glob(pattern)(path) for pattern in trigger.paths for path in event.paths)


@lru_cache(maxsize=1024)
def glob(pattern: str) -> Callable[[str], bool]:
    """`*` and `?` stay within one part of a path, `**` crosses parts; all else is literal."""
    out = []
    i = 0
    while i < len(pattern):
        if pattern.startswith("**/", i):
            out.append("(?:.*/)?")
            i += 3
        elif pattern.startswith("**", i):
            out.append(".*")
            i += 2
        else:
            out.append({"*": "[^/]*", "?": "[^/]"}.get(pattern[i]) or re2.escape(pattern[i]))
            i += 1
    compiled = re2.compile("(?s)" + "".join(out))
    return lambda text: compiled.fullmatch(text) is not None


def parameters(trigger: Trigger, event: CicdEvent, run_id: str) -> dict[str, str]:
    """The trigger's parameters, `{commit}` and its like filled in, and the run's id."""
    words = {name: str(getattr(event, name)) for name in ("repository", "branch", "commit", "author")}
    out = {}
    for name, value in trigger.parameters.items():
        for word, text in words.items():
            value = value.replace(f"{{{word}}}", text)
        out[name] = value
    return out | {RUN_ID: run_id}


def _run(trigger: Trigger, event: CicdEvent, run_id: str, now_ms: int, cluster: str) -> PipelineRun:
    return PipelineRun(
        run_id=run_id,
        trigger=trigger.name,
        job=trigger.job,
        state=RunState.TRIGGERED,
        event_id=event.id,
        parameters=parameters(trigger, event, run_id),
        updated_at_ms=now_ms,
        tenant=event.tenant,
        cluster=cluster,
    )


def outgoing(run: PipelineRun) -> Outgoing:
    headers = cloud_headers(
        topic=RUNS,
        id=digest(run.run_id, run.state, str(run.updated_at_ms)),
        type=f"pipelinerun.{run.state.value}",
        source=f"eventsphere/{AGENT}",
        time_ms=run.updated_at_ms,
        subject=run.run_id,
    )
    return Outgoing(RUNS, encode(run), run.run_id.encode(), headers)


def _record(entry: RunEntry) -> Record:
    event = entry.record
    key, value = (event.subject_id.encode(), encode(event)) if event else (None, b"")
    return Record(TOPIC, entry.partition, entry.offset, key, value, entry.accepted_at_ms, [(REPLAY, b"1")])
