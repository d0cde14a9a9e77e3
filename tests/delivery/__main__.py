"""`make chaos-mail KILLS=100`: mails over a real SMTP server while workers are killed. Exit status 0 when good."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys

from streams import topics
from tests.delivery.kills import Plan, under_kills
from tests.parts import broker as broker_part
from tests.parts.process import folder
from tests.parts.smtp_server import smtp_server


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("tests.delivery", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--mails", type=int, default=5_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args(arguments)
    plan = Plan(options.mails, options.kills, options.seed, options.workers)
    print(f"seed {plan.seed}: {plan.mails} mails, {plan.kills} kills of {plan.workers} workers", flush=True)
    with broker_part.broker() as broker, smtp_server(delay_s=0.02) as smtp, folder("chaos-mail") as base:
        topics.apply(broker.kafka)
        try:
            verdict = asyncio.run(under_kills(broker.kafka, smtp, base, plan, lambda text: print(text, flush=True)))
        except AssertionError as error:
            print(f"chaos-mail: BAD: {error}")
            return 1
    print(f"chaos-mail: {verdict}")
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
