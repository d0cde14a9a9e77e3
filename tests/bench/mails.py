"""Mails at a steady rate: from the decision on `notifications` to the SMTP server's having it.

    python -m tests.bench.mails --rate 100 --seconds 20

A real broker, one worker and an SMTP server, each a process of its own. A latency is when the server took the mail less
when its notification was handed to the producer.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from pathlib import Path

from agents import deliver_notifications
from streams import topics
from streams.settings import Kafka
from tests.delivery.kills import made, outgoing, settings_for
from tests.parts import broker as broker_part
from tests.parts.process import folder
from tests.parts.running import producing, until, worker_process
from tests.parts.smtp_server import Server, smtp_server

WARM = 50
BURST_S = 0.05


async def measure(kafka: Kafka, smtp: Server, base: Path, rate: int, seconds: int) -> list[int]:
    """Latencies in ms, sorted; `WARM` mails go before."""
    worker = worker_process(settings_for(kafka, smtp.port, base), base / "worker.log", deliver_notifications.NAME)
    worker.start()
    try:
        async with producing(kafka) as producer:
            await producer.send([outgoing(made(0, number, 1_767_607_200_000)) for number in range(WARM)])
            await until(lambda: len(smtp.taken()) >= WARM, "the first mails", 120, process=worker)
            sent: dict[str, int] = {}
            began = time.monotonic()
            while len(sent) < rate * seconds:
                due = min(rate * seconds, int((time.monotonic() - began) * rate)) - len(sent)
                now = time.time_ns() // 1_000_000
                batch = [made(1, len(sent) + i, now) for i in range(due)]
                sent |= {f"<{each.id}@eventsphere>": now for each in batch}
                await producer.send([outgoing(each) for each in batch])
                await asyncio.sleep(BURST_S)
            await until(lambda: len(smtp.taken()) >= WARM + len(sent), "every mail", 300, process=worker)
    finally:
        worker.stop()
    return sorted(each.at_ms - sent[each.message_id] for each in smtp.taken() if each.message_id in sent)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("tests.bench.mails", description=__doc__)
    parser.add_argument("--rate", type=int, default=100, help="mails a second (%(default)s)")
    parser.add_argument("--seconds", type=int, default=20)
    options = parser.parse_args(arguments)
    with broker_part.broker() as broker, smtp_server() as smtp, folder("bench-mails") as base:
        topics.apply(broker.kafka)
        took = asyncio.run(measure(broker.kafka, smtp, base, options.rate, options.seconds))
    of = {q: took[min(len(took) - 1, int(len(took) * q / 100))] for q in (50, 95, 99)}
    print(
        f"{options.rate} mails/s for {options.seconds} s: {len(took)} taken; decision -> taken "
        f"p50 {of[50]} ms, p95 {of[95]} ms, p99 {of[99]} ms, mean {statistics.fmean(took):.0f} ms"
    )
    return 0 if of[95] < 1000 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
