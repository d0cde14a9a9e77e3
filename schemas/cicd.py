"""CI/CD: CDEvents-shaped events (`cicd.events`) and the state of triggered runs (`pipelines.runs`)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from schemas.base import Event


class CicdEvent(Event, frozen=True, kw_only=True):
    """A CDEvents-shaped event. Key: `subject_id`.

    `type` is CDEvents' vocabulary without its prefix and version, e.g. `change.merged`, `build.finished`;
    a push to a branch is `change.merged` with `repository`, `branch`, `commit` and the changed `paths`.
    """

    id: str
    type: str
    source: str
    """`gitlab/<hook id>`, `github/<hook id>`, `jenkins/<hook id>`, ..."""
    subject_id: str
    time_ms: int
    tenant: str = ""
    cluster: str = ""
    repository: str = ""
    branch: str = ""
    commit: str = ""
    author: str = ""
    message: str = ""
    paths: list[str] = []
    delivery: str = ""
    data: dict[str, Any] = {}


class RunState(StrEnum):
    TRIGGERED = "triggered"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORTED = "aborted"


class PipelineRun(Event, frozen=True, kw_only=True):
    """One run a trigger started. Key: `run_id` = hash(trigger, subject): three deliveries of a push are one run."""

    run_id: str
    trigger: str
    job: str
    state: RunState
    event_id: str
    parameters: dict[str, str] = {}
    queue_url: str = ""
    build_url: str = ""
    reason: str = ""
    updated_at_ms: int
    tenant: str = ""
    cluster: str = ""
