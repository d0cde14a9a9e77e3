"""A run under fire: senders that wait for acks, a killer, and what the index holds when all has settled."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from deploy.demo.forward import ForwardSender, NotAcknowledged
from deploy.local.broker import Broker
from streams.kafka import client
from streams.settings import Kafka
from tests.chaos.plan import Chunk, Kill, Verdict, chunks, judge, kills
from tests.parts.local import Local, until

SENDERS = 3
PAGE = 1000
SETTLE_S = 300.0
VISIBLE_S = 20.0
GROUP = "eventsphere.index-logs"
GIVE_UP_S = 300.0
"""A sender that persists and gets no ack for so long has found a fault."""
Say = Callable[[str, int], None]
"""Hears (what: acknowledged, killed, found; how many so far)."""


class Fire(NamedTuple):
    """What a run is made of. `namespace` keeps runs on one instance apart."""

    namespace: str
    records: int
    kills: int
    mean_s: float
    seed: int
    chunk: int = 500


class Unacknowledged(Exception):
    """A chunk that must be acknowledged was not, long after the last kill."""


def record(fire: Fire, number: int) -> dict[str, Any]:
    about = {"namespace_name": fire.namespace, "pod_name": "sender"}
    return {"log": f"number {number}", "number": number, "kubernetes": about}


def under_fire(platform: Local, fire: Fire, say: Say = lambda _what, _count: None) -> Verdict:
    """Send, kill, wait until all is there, and judge. Raises Unacknowledged."""
    rng = random.Random(fire.seed)
    planned = kills(fire.kills, fire.mean_s, rng)
    made = chunks(fire.records, fire.chunk, rng)
    sending = _Sending(platform, fire, made, sum(kill.after_s for kill in planned), say)
    killer = threading.Thread(target=_kill, args=(platform, planned, say), daemon=True)
    killer.start()
    sending.run()
    killer.join()
    return judge(made, sending.acknowledged, _settled(platform, fire, sending.acknowledged, say))


def _kill(platform: Local, planned: list[Kill], say: Say) -> None:
    for number, kill in enumerate(planned, 1):
        time.sleep(kill.after_s)
        pid = until(partial(_living, platform, kill.victim), within_s=60, every_s=0.05)
        os.kill(pid, signal.SIGKILL)
        say(f"killed {kill.victim}", number)


def _living(platform: Local, name: str) -> int:
    """The process's id; 0 while it is dead (killed and not started again yet): a kill is only one of what lives."""
    pid = platform.now.children.get(name, 0)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return 0
    return pid


class _Sending:
    """`SENDERS` connections take chunks in order, no faster than the kills last."""

    def __init__(self, platform: Local, fire: Fire, made: list[Chunk], lasts_s: float, say: Say) -> None:
        self._platform = platform
        self._fire = fire
        self._left = list(reversed(made))
        self._pause_s = lasts_s / len(made)
        self._began = time.monotonic()
        self._taken = self._done = 0
        self._lock = threading.Lock()
        self._say = say
        self._failed: list[str] = []
        self.acknowledged: list[Chunk] = []

    def run(self) -> None:
        threads = [threading.Thread(target=self._send, daemon=True) for _ in range(SENDERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._failed:
            raise Unacknowledged(self._failed[0])

    def _send(self) -> None:
        sender = ForwardSender(self._platform.forward, "chaos")
        while (chunk := self._take()) is not None:
            at_ms = time.time_ns() // 1_000_000
            entries = [(at_ms, record(self._fire, number)) for number in range(chunk.start, chunk.end)]
            try:
                name = f"{self._fire.namespace}-{chunk.start}"
                sender.send(name, entries, within_s=GIVE_UP_S if chunk.persists else 0)
            except NotAcknowledged as error:
                if chunk.persists:
                    self._failed.append(str(error))
                    break
                continue
            with self._lock:
                self.acknowledged.append(chunk)
                self._done += chunk.end - chunk.start
                self._say("acknowledged", self._done)
        sender.close()

    def _take(self) -> Chunk | None:
        with self._lock:
            if not self._left or self._failed:
                return None
            chunk = self._left.pop()
            self._taken += 1
            due = self._began + self._taken * self._pause_s
        time.sleep(max(0.0, due - time.monotonic()))
        return chunk


def _settled(platform: Local, fire: Fire, acknowledged: list[Chunk], say: Say) -> list[int]:
    """Every number the index holds once its worker has nothing left to do and the last write can be seen."""
    least = sum(chunk.end - chunk.start for chunk in acknowledged)
    lag = Lag(Broker(platform.data_dir / "broker", platform.base + 2, platform.base + 3).kafka)
    try:
        until(lag.records, lambda left: left == 0, within_s=SETTLE_S)
    finally:
        lag.close()
    # Fewer than acknowledged after that is a loss: the verdict says so, with the numbers.
    with suppress(AssertionError):
        until(lambda: platform.count_logs(namespace=fire.namespace), lambda total: total >= least, within_s=VISIBLE_S)
    return numbers(platform, fire.namespace, say)


class Lag:
    """What a group has not committed yet; of itself the log indexer's."""

    def __init__(self, kafka: Kafka, group: str = GROUP, topic: str = "logs") -> None:
        self.topic = topic
        self._consumer = Consumer(client(kafka) | {"group.id": group, "enable.auto.commit": False})

    def records(self) -> int:
        """Raises OSError while the broker is away."""
        try:
            partitions = self._consumer.list_topics(self.topic, timeout=10).topics[self.topic].partitions
            left = 0
            for at in self._consumer.committed([TopicPartition(self.topic, each) for each in partitions], timeout=10):
                first, end = self._consumer.get_watermark_offsets(at, timeout=10)
                left += end - max(at.offset, first)
        except KafkaException as error:
            raise OSError(str(error)) from error
        return left

    def close(self) -> None:
        self._consumer.close()


def numbers(platform: Local, namespace: str, say: Say = lambda _what, _count: None) -> list[int]:
    """Every indexed number of a namespace, page by page."""
    out, cursor = list[int](), ""
    while True:
        page = until(partial(platform.get, "/api/v1/logs", namespace=namespace, limit=PAGE, cursor=cursor))
        out += [int(item["record"]["number"]) for item in page["items"]]
        say("found", len(out))
        cursor = page["next"]
        if not cursor:
            return out
