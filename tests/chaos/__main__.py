"""`make chaos KILLS=100`: on both index adapters, every acknowledged record exactly once. Exit status 0 when so."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from tests.chaos.fire import Fire, Unacknowledged, under_fire
from tests.parts.elasticsearch import elasticsearch
from tests.parts.local import Local, local
from tests.parts.process import Missing

ADAPTERS = ("embedded", "elasticsearch")


def main(arguments: list[str]) -> int:
    options = _options(arguments)
    console = Console(soft_wrap=True)
    console.print(
        f"seed {options.seed}: {options.kills} kills, {options.mean:g} s apart on average, "
        f"{options.records:,} records; the same again with SEED={options.seed}"
    )
    good = True
    for adapter in options.adapters:
        size = max(20, min(500, options.records // 200))
        fire = Fire("chaos", options.records, options.kills, options.mean, options.seed, size)
        began = time.monotonic()
        try:
            with _instance(adapter, console) as platform, _display(console, adapter, fire) as say:
                verdict = under_fire(platform, fire, say)
        except (Unacknowledged, AssertionError, Missing) as error:
            console.print(f"chaos on {adapter}: BAD: {error}")
            good = False
            continue
        console.print(f"chaos on {adapter}: {verdict} ({time.monotonic() - began:.0f} s)")
        good = good and verdict.good
    return 0 if good else 1


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--mean", type=float, default=4.0, help="seconds between two kills on average (%(default)s)")
    parser.add_argument("--adapter", dest="adapters", choices=ADAPTERS, action="append", help="one only; both without")
    options = parser.parse_args(arguments)
    options.adapters = options.adapters or list(ADAPTERS)
    return options


@contextmanager
def _instance(adapter: str, console: Console) -> Iterator[Local]:
    settings = {"SELF_LOGGING": "false"}
    with ExitStack() as stack:
        with console.status(f"starting, index {adapter} ..."):
            if adapter == "elasticsearch":
                settings |= {"INDEX__URL": stack.enter_context(elasticsearch()), "INDEX__PREFIX": "chaos"}
            platform = stack.enter_context(local(**settings))
        yield platform


@contextmanager
def _display(console: Console, adapter: str, fire: Fire) -> Iterator[Callable[[str, int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bars: dict[str, TaskID] = {
            "acknowledged": progress.add_task(f"{adapter}: acknowledged", total=fire.records),
            "killed": progress.add_task(f"{adapter}: killed", total=fire.kills),
            "found": progress.add_task(f"{adapter}: found", total=fire.records),
        }

        def say(what: str, count: int) -> None:
            name, _, victim = what.partition(" ")
            progress.update(bars[name], completed=count)
            if victim and not console.is_terminal:
                console.print(f"kill {count} of {fire.kills}: {victim}")

        yield say


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
