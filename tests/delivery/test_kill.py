"""Mails across `kill -9`: none missing, at most one repeat a kill, each repeat with the same Message-ID."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.settings import Kafka
from tests.delivery.kills import Plan, made, under_kills, verdict
from tests.parts.smtp_server import Taken, smtp_server


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "plan",
    [
        Plan(mails=120, kills=4, seed=7),
        pytest.param(Plan(mails=500, kills=10, seed=8), marks=pytest.mark.long),
    ],
)
async def test_none_missing_and_one_repeat_a_kill_at_most(platform_kafka: Kafka, tmp_path: Path, plan: Plan) -> None:
    # Slow to answer, so that most kills leave a mail in doubt.
    with smtp_server(delay_s=0.03) as smtp:
        seen = await under_kills(platform_kafka, smtp, tmp_path, plan)
    assert seen.good, str(seen)


def test_the_verdict_tells_what_is_wrong() -> None:
    sent = [made(1, 0, 1), made(1, 1, 1)]
    ids = [f"<{each.id}@eventsphere>" for each in sent]

    def of(*came: str, without: int = 0) -> bool:
        return verdict(sent, [Taken(1, "ops@example.org", each) for each in came], 1, without, 0.0).good

    assert of(*ids)
    assert of(*ids, ids[0])
    assert not of(*ids, ids[0], ids[1])
    assert not of(ids[0])
    assert not of(*ids, "<other@eventsphere>")
    assert not of(*ids, without=1)
