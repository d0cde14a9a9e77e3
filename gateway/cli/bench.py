"""`eventsphere bench`: the measurement lives with the tests, in a checkout."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import typer

from gateway.cli import context

ROOT = Path(__file__).parents[2]


def bench(arguments: typer.Context) -> None:
    """Measure the log path beside its peers (from a checkout: it lives with the tests).

    Example: `eventsphere bench --records 500000 --peer rsyslog`
    """
    if not (ROOT / "tests" / "bench" / "__main__.py").exists():
        context.fail(
            "the bench is not in an installed package: it lives with the tests. Get the source of this version, "
            "then `make bench` there."
        )
    if importlib.util.find_spec("psutil") is None:
        context.fail(f"the bench needs what the tests are made with: `make setup-dev` in {ROOT}, then `make bench`.")
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "tests.bench", *arguments.args])  # noqa: S606
