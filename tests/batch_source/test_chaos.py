"""`kill -9` of workers at random moments: every record is processed, few twice, and the committed offsets are exact."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from confluent_kafka.admin import AdminClient

from streams.kafka import client
from streams.settings import Kafka
from streams.watchdog import EXIT_STATUS
from tests.batch_source.harness import committed, create, produce, unique
from tests.batch_source.worker_process import Plan

ROOT = Path(__file__).parents[2]
PARTITIONS = 4


class Workers:
    """Two worker processes of one group; one that was killed is started again at once."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._numbers: list[int] = []
        self._started = 0

    def start(self, count: int) -> None:
        for _ in range(count):
            self._processes.append(self._start())
            self._numbers.append(self._started)

    def kill(self, index: int) -> None:
        self._processes[index].kill()
        self._processes[index].wait()
        self._processes[index] = self._start()
        self._numbers[index] = self._started

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def end(self, index: int) -> int:
        """Wait until a worker ended by itself; returns its exit status."""
        return self._processes[index].wait(60)

    def alive(self) -> bool:
        return all(process.poll() is None for process in self._processes)

    def processed(self) -> list[Counter[int]]:
        """How often each record was processed, by process."""
        return [
            Counter(int(line) for line in file.read_bytes().split(b"\n")[:-1])
            for file in sorted(self._folder.glob("*.out"))
        ]

    @property
    def names(self) -> list[str]:
        """Those that run: the newest of each place."""
        return [f"worker-{number:02d}" for number in self._numbers]

    def log(self) -> str:
        return "\n".join(file.read_text("utf-8", "replace")[-3000:] for file in sorted(self._folder.glob("*.log")))

    def _start(self) -> subprocess.Popen[bytes]:
        self._started += 1
        name = f"worker-{self._started:02d}"
        plan = msgspec.structs.replace(self._plan, name=name, output=str(self._folder / f"{name}.out"))
        Path(plan.output).touch()
        with (self._folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.batch_source.worker_process", msgspec.json.encode(plan).decode()],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )


@contextmanager
def workers(
    kafka: Kafka, folder: Path, topic: str, group: str, *, batch: int, pause_s: float, watchdog_s: float = 60.0
) -> Iterator[Workers]:
    """Faust's own group is shared, so that it rebalances (and takes from its agents what they hold) at each kill."""
    control = unique("control")
    create(kafka, control, partitions=2)
    plan = Plan(
        bootstrap=kafka.bootstrap_servers,
        username=kafka.username,
        password=kafka.password.get_secret_value(),
        topic=topic,
        group=group,
        control=control,
        faust_group=unique("faust"),
        name="",
        output="",
        max_batch_records=batch,
        pause_s=pause_s,
        watchdog_s=watchdog_s,
    )
    part = Workers(plan, folder)
    try:
        yield part
    finally:
        part.stop()


def members(kafka: Kafka, group: str) -> dict[str, int]:
    """Partitions each worker has."""
    admin = AdminClient(client(kafka))
    described = next(iter(admin.describe_consumer_groups([f"eventsphere.{group}"]).values())).result()
    return {m.client_id.rpartition(".")[2]: len(m.assignment.topic_partitions) for m in described.members}


def chaos(
    kafka: Kafka, folder: Path, *, records: int, kills: int, batch: int, pause_s: float, every_s: tuple[float, float]
) -> None:
    topic, group = unique("records"), unique("chaos")
    create(kafka, topic, partitions=PARTITIONS)
    rng = random.Random(7)
    produce(kafka, topic, (b"%d" % i for i in range(records)), partitions=PARTITIONS)
    share = records // PARTITIONS
    end = dict.fromkeys(range(PARTITIONS), share)
    with workers(kafka, folder, topic, group, batch=batch, pause_s=pause_s) as part:
        part.start(2)
        wait(lambda: sum(committed(kafka, group, topic).values()) > 0, part, "the first commit")
        for kill in range(kills):
            time.sleep(rng.uniform(*every_s))
            assert committed(kafka, group, topic) != end, "the kill comes too late to tell anything"
            part.kill(kill % 2)
        wait(lambda: committed(kafka, group, topic) == end, part, "every partition committed to its end")
        evenly = dict.fromkeys(part.names, PARTITIONS // 2)
        wait(lambda: members(kafka, group) == evenly, part, "both workers have partitions")
        # Both work: what comes now is processed by those two.
        produce(kafka, topic, (b"%d" % i for i in range(records, records + 400)), partitions=PARTITIONS)
        wait(lambda: committed(kafka, group, topic) == dict.fromkeys(end, share + 100), part, "what came late")
        processed = part.processed()
    every: Counter[int] = sum(processed, Counter())
    assert sorted(every) == list(range(records + 400)), "every record was processed"
    late = [sum(1 for record in each if record >= records) for each in processed]
    assert sorted(late)[-2:] == [200, 200], f"the late records went to both workers alike: {late}"
    twice = every.total() - len(every)
    # A kill repeats at most what was read and not committed (five reads); a rebalance the batches being worked on.
    assert twice <= kills * 5 * batch + (2 * kills + 2) * 2 * batch, f"{twice} records were processed twice"


def wait(condition: Callable[[], bool], part: Workers, what: str, timeout_s: float = 180.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert part.alive(), f"a worker ended by itself:\n{part.log()}"
        assert time.monotonic() < end, f"still not so after {timeout_s:.0f} s: {what}\n{part.log()}"
        time.sleep(0.2)


@pytest.mark.timeout(400)
def test_two_kills_of_two_workers_lose_nothing(kafka: Kafka, tmp_path: Path) -> None:
    chaos(kafka, tmp_path, records=60_000, kills=2, batch=200, pause_s=0.1, every_s=(2.0, 4.0))


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_eight_kills_of_two_workers_lose_nothing(kafka: Kafka, tmp_path: Path) -> None:
    chaos(kafka, tmp_path, records=1_000_000, kills=8, batch=2000, pause_s=0.25, every_s=(6.0, 12.0))


def test_a_worker_that_hangs_ends_itself(kafka: Kafka, tmp_path: Path) -> None:
    topic, group = unique("records"), unique("hangs")
    create(kafka, topic)
    produce(kafka, topic, [b"1"])
    with workers(kafka, tmp_path, topic, group, batch=10, pause_s=3600.0, watchdog_s=3.0) as part:
        part.start(1)
        assert part.end(0) == EXIT_STATUS
        assert "watchdog.stalled" in part.log()
