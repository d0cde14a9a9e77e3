"""trigger-pipelines on a real broker against the contract server: one build a push, whatever dies in between."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from agents import trigger_pipelines
from schemas.base import encode
from schemas.cicd import CicdEvent, PipelineRun
from streams.record import Outgoing
from streams.settings import Jenkins as JenkinsSettings
from streams.settings import Kafka, Settings, Trigger
from tests.parts.jenkins import PASSWORD, TOKEN, USER, Jenkins
from tests.parts.running import decoded, following, running, send, until, worker_process


def push(commit: str, delivery: int = 0) -> Outgoing:
    event = CicdEvent(
        id=f"{commit}-{delivery}",
        type="change.merged",
        source="github/main",
        subject_id="shop/pay@main",
        time_ms=1_767_607_200_000,
        repository="shop/pay",
        branch="main",
        commit=commit,
        paths=["src/pay.py"],
    )
    return Outgoing("cicd.events", encode(event), event.subject_id.encode())


@pytest.fixture
def settings(platform_kafka: Kafka, tmp_path: Path, server: Jenkins) -> Settings:
    trigger = Trigger(
        name="pay",
        repository="shop/*",
        branch="main",
        paths=["src/**"],
        job="pay-build",
        parameters={"COMMIT": "{commit}"},
    )
    return Settings(
        data_dir=str(tmp_path),
        kafka=platform_kafka,
        jenkins=JenkinsSettings(url=server.url, username=USER, token=TOKEN),
        triggers=[trigger],
    )


def states(records: list[tuple[bytes | None, bytes | None]], server: Jenkins, commit: str) -> list[str]:
    ids = {p["EVENTSPHERE_RUN_ID"] for p in server.state.started("pay-build") if p["COMMIT"] == commit}
    return [run.state.value for run in decoded(records, PipelineRun) if run.run_id in ids]


def commits(server: Jenkins) -> list[str]:
    return [parameters["COMMIT"] for parameters in server.state.started("pay-build")]


async def test_three_deliveries_of_a_push_are_one_build(settings: Settings, server: Jenkins) -> None:
    with following(settings.kafka, "pipelines.runs") as runs:
        async with running(settings, trigger_pipelines):
            await send(settings.kafka, push("a1", 1), push("a1", 2), push("a1", 3), push("a2"))
            await until(lambda: "succeeded" in states(runs(), server, "a1"), "the run's end")
            await until(lambda: "succeeded" in states(runs(), server, "a2"), "the other run's end")
        assert states(runs(), server, "a1") == ["triggered", "queued", "running", "succeeded"]
    assert sorted(commits(server)) == ["a1", "a2"]


async def test_an_answer_that_is_lost_starts_no_second_build(settings: Settings, server: Jenkins) -> None:
    server.state.hang_up_after_start = True
    with following(settings.kafka, "pipelines.runs") as runs:
        async with running(settings, trigger_pipelines):
            await send(settings.kafka, push("b1"))
            await until(lambda: "succeeded" in states(runs(), server, "b1"), "the run's end")
    assert commits(server) == ["b1"]


async def test_a_crumb_is_fetched_where_there_is_no_token(settings: Settings, server: Jenkins) -> None:
    by_password = JenkinsSettings(url=server.url, username=USER, token=PASSWORD)
    async with running(settings.model_copy(update={"jenkins": by_password}), trigger_pipelines):
        await send(settings.kafka, push("c1"))
        await until(lambda: commits(server) == ["c1"], "the build")


async def test_jenkins_away_is_waited_for(settings: Settings, server: Jenkins) -> None:
    server.state.broken = 503
    async with running(settings, trigger_pipelines):
        await send(settings.kafka, push("d1"))
        await asyncio.sleep(3)
        server.state.broken = 0
        await until(lambda: commits(server) == ["d1"], "the build")


async def test_a_job_that_would_drop_the_run_id_is_refused(settings: Settings, server: Jenkins) -> None:
    server.state.jobs["pay-build"] = ["COMMIT"]
    with following(settings.kafka, "cicd.events.dlq") as dead, capture_logs() as told:
        async with running(settings, trigger_pipelines):
            await send(settings.kafka, push("e1"))
            await until(lambda: any(b'"e1"' in (value or b"") for _, value in dead()), "the dead letter")
    assert commits(server) == []
    (given_up,) = [each for each in told if each.get("reason") == "jenkins_parameter"]
    assert given_up["event"] == "run.given_up", "it does not wait for anything"
    assert "add a string parameter of that name" in given_up["detail"]
    assert "EVENTSPHERE_RUN_ID" in given_up["detail"]


async def test_one_build_each_across_kill_9(settings: Settings, server: Jenkins, tmp_path: Path) -> None:
    server.state.quiet_s = 1.0
    worker = worker_process(settings, tmp_path / "worker.log", trigger_pipelines.NAME)
    pushes = [push(f"k{number}", delivery) for number in range(12) for delivery in range(2)]
    await send(settings.kafka, *pushes)
    try:
        for round_ in range(4):
            await asyncio.to_thread(worker.start)
            wanted = 3 * (round_ + 1)
            await until(lambda wanted=wanted: len(commits(server)) >= wanted, f"{wanted} builds", 120, process=worker)  # type: ignore[misc]
            await asyncio.to_thread(worker.kill)
        await asyncio.to_thread(worker.start)
        with following(settings.kafka, "pipelines.runs") as runs:
            await until(
                lambda: all("succeeded" in states(runs(), server, f"k{number}") for number in range(12)),
                "the end of all runs",
                120,
                process=worker,
            )
    finally:
        await asyncio.to_thread(worker.stop)
    assert sorted(commits(server)) == sorted(f"k{number}" for number in range(12))
