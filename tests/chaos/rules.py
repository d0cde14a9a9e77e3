"""`make chaos-rules KILLS=100`: workers are killed while records flow through rules of every type; the alerts and what
was told of them are those of a run nobody disturbed. Exit status 0 when so.

Every agent from the record to the mail runs, in several workers; after each kill the victim is started again. The run
that is compared with reads the same records (their times, partitions, order) on a broker of its own, with one worker.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from schemas.alerts import Alert, AlertState
from schemas.notifications import Notification
from streams import topics
from streams.record import Outgoing
from streams.settings import Alerting, Kafka, Rules, Settings, Smtp
from tests.chaos.fire import Lag
from tests.chaos.rules_plan import DOCUMENT, Episode, Verdict, judge, of_alerts, values
from tests.parts.broker import broker
from tests.parts.process import Process
from tests.parts.running import decoded, following, producing, worker_process
from tests.parts.smtp_server import Server, smtp_server

RULE_AGENTS = ("match-rules", "evaluate-windows")
AGENTS = (*RULE_AGENTS, "keep-alert-state", "route-alerts", "group-notifications", "deliver-notifications")
LATENESS_S = 10.0
"""More than the way into Kafka can take: then nothing depends on when a record came."""
TICK_S = 0.1
SHORTEST, LONGEST = 0.2, 1.8
"""Of the mean between two kills: at the short end the victim before is not up again, nor its partitions given away."""
LONGEST_S = 60.0
"""From the last record to the end of the last alert: a flatline's `forget`, how long it fires on, and some."""
QUIET_S, SETTLE_S = 6.0, 300.0
CONFIG = """
route: {receiver: ops, group_by: [alertname], group_wait: 1s, group_interval: 4s, repeat_interval: 1d}
receivers:
  - name: ops
    email_configs: [{to: ops@example.org, send_resolved: true}]
"""
Say = Callable[[str], None]


class Plan(NamedTuple):
    records: int
    kills: int
    seed: int
    mean_s: float = 9.0
    workers: int = 3


async def disturbed(plan: Plan, say: Say = lambda _text: None) -> Verdict:
    """Send, kill, wait until all has come to rest; then the same undisturbed, and judge."""
    rng = random.Random(plan.seed)
    waits = [rng.uniform(SHORTEST, LONGEST) * plan.mean_s for _ in range(plan.kills)]
    made = list(values(plan.records, rng))
    with broker() as part, smtp_server(delay_s=0.01) as smtp, tempfile.TemporaryDirectory() as folder:
        topics.apply(part.kafka)
        async with _workers(_settings(part.kafka, Path(folder), smtp), plan.workers, AGENTS) as workers:
            sending = asyncio.create_task(_send_paced(part.kafka, made, sum(waits), rng))
            await _kill(workers, waits, rng, say)
            sent = await sending
            say(f"all {len(sent):,} sent")
            wanted, _ = await asyncio.gather(undisturbed(sent, say), _at_rest(part.kafka, sent))
            say("at rest")
            found = await _told(part.kafka, smtp, wanted, plan.kills, say)
    return found


async def undisturbed(records: Sequence[Outgoing], say: Say = lambda _text: None) -> set[Episode]:
    """The episodes that one worker makes of these records."""
    with broker() as part, tempfile.TemporaryDirectory() as folder:
        topics.apply(part.kafka)
        async with producing(part.kafka) as producer:
            for start in range(0, len(records), 5000):
                await producer.send(records[start : start + 5000])
        async with _workers(_settings(part.kafka, Path(folder)), 1, RULE_AGENTS):
            await _at_rest(part.kafka, records)
            with following(part.kafka, "alerts") as read:
                found = of_alerts(decoded(read(), Alert))
    say(f"undisturbed: {len(found):,} episodes")
    return found


def _settings(kafka: Kafka, folder: Path, smtp: Server | None = None) -> Settings:
    (folder / "rules").mkdir()
    (folder / "rules" / "chaos.yaml").write_text(DOCUMENT, "utf-8")
    (folder / "alertmanager.yml").write_text(CONFIG, "utf-8")
    settings = Settings(
        data_dir=str(folder),
        kafka=kafka,
        self_logging=False,
        rules=Rules(dir=str(folder / "rules")),
        alerting=Alerting(config=str(folder / "alertmanager.yml")),
        smtp=Smtp(url=f"smtp://127.0.0.1:{smtp.port}?from=es@example.org") if smtp else Smtp(),
    )
    return settings.model_copy(
        update={
            "cluster": settings.cluster.model_copy(update={"name": "chaos"}),
            "worker": settings.worker.model_copy(update={"window_lateness_s": LATENESS_S}),
        }
    )


@asynccontextmanager
async def _workers(settings: Settings, count: int, agents: Sequence[str]) -> AsyncIterator[list[Process]]:
    workers = [worker_process(settings, Path(settings.data_dir) / f"w{n}.log", *agents) for n in range(count)]
    await asyncio.gather(*(asyncio.to_thread(worker.start) for worker in workers))
    try:
        yield workers
    finally:
        await asyncio.gather(*(asyncio.to_thread(worker.stop) for worker in workers))


async def _send_paced(kafka: Kafka, made: Sequence[bytes], seconds: float, rng: random.Random) -> list[Outgoing]:
    """All records within `seconds`, each with the time it is sent at, no two at the same."""
    sent: list[Outgoing] = []
    began, last_ms = time.time(), 0
    async with producing(kafka) as producer:
        while len(sent) < len(made):
            due = int(len(made) * min(1.0, (time.time() - began) / max(seconds, 1.0))) - len(sent)
            now_ms = time.time_ns() // 1_000_000
            part = []
            for value in made[len(sent) : len(sent) + due]:
                last_ms = max(last_ms + 1, now_ms - due)
                part.append(Outgoing("logs", value, timestamp_ms=last_ms, partition=rng.randrange(6)))
            await producer.send(part)
            sent += part
            await asyncio.sleep(TICK_S)
    return sent


async def _kill(workers: Sequence[Process], waits: Sequence[float], rng: random.Random, say: Say) -> None:
    for number, wait_s in enumerate(waits, 1):
        await asyncio.sleep(wait_s)
        victim = rng.randrange(len(workers))
        await asyncio.to_thread(workers[victim].kill)
        await asyncio.to_thread(workers[victim].start)
        say(f"kill {number} of {len(waits)}: worker {victim}")


async def _at_rest(kafka: Kafka, records: Sequence[Outgoing]) -> None:
    """Everything was read, time has passed beyond the last window, and no alert fires any more."""
    ends_s = records[-1].timestamp_ms / 1000 + LONGEST_S + LATENESS_S
    lag = Lag(kafka, "eventsphere.match-rules", "logs")
    with following(kafka, "alerts") as read:

        def count() -> int:
            """Of observations; -1 while more are sure to come."""
            episodes = of_alerts(decoded(read(), Alert))
            over = time.time() > ends_s and all(end for _, _, end in episodes)
            with suppress(OSError):  # who knows of the group moves while its members come and go
                return len(read()) if over and lag.records() == 0 else -1
            return -1

        before, since = -1, time.monotonic()
        deadline = since + SETTLE_S
        while time.monotonic() < min(since + QUIET_S, deadline):  # what fires still is in the verdict
            now = await asyncio.to_thread(count)
            if now == -1 or now != before:
                before, since = now, time.monotonic()
            await asyncio.sleep(0.3)
    lag.close()


async def _told(kafka: Kafka, smtp: Server, wanted: set[Episode], kills: int, say: Say) -> Verdict:
    """What was told once everything that is to be told was, or long after it should have been."""
    with following(kafka, "alerts.state") as states, following(kafka, "notifications") as notifications:

        def verdict() -> Verdict:
            delivered = [_id(taken.message_id) for taken in smtp.taken()]
            return judge(
                wanted, decoded(states(), AlertState), decoded(notifications(), Notification), delivered, kills
            )

        deadline = time.monotonic() + SETTLE_S / 3
        found = await asyncio.to_thread(verdict)
        while not found.good and time.monotonic() < deadline:
            say(f"so far {found}")
            await asyncio.sleep(5)
            found = await asyncio.to_thread(verdict)
        await asyncio.sleep(QUIET_S)
        return await asyncio.to_thread(verdict)


def _id(message_id: str) -> str:
    """<id@host> -> id."""
    return message_id.strip().removeprefix("<").partition("@")[0]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("tests.chaos.rules", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--mean", type=float, default=9.0, help="seconds between two kills on average (%(default)s)")
    options = parser.parse_args(arguments)
    plan = Plan(options.records, options.kills, options.seed, options.mean)
    print(
        f"seed {plan.seed}: {plan.kills} kills of workers, {plan.mean_s:g} s apart on average, {plan.records:,} "
        f"records, 50 rules; the same again with SEED={plan.seed}",
        flush=True,
    )
    began = time.monotonic()
    verdict = asyncio.run(disturbed(plan, partial(print, flush=True)))
    print(f"chaos of rules: {verdict} ({time.monotonic() - began:.0f} s)")
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
