"""What was measured, kept in one file that `eventsphere size` and the documentation are made from."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from tests.bench.run import Measured

FILE = Path(__file__).parents[2] / "gateway" / "cli" / "figures.json"


def load() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return found


def keep(found: dict[str, Any]) -> dict[str, Any]:
    """What was measured now, over what was kept; parts not measured now stay."""
    merged = load() | found
    FILE.write_text(json.dumps(merged, indent=1) + "\n", "utf-8")
    return merged


def where(records: int) -> dict[str, Any]:
    """When and on what. The load is that of the minute before: on a busy machine only ratios hold."""
    return {
        "at": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
        "records": records,
    }


def of_runs(name: str, note: str, runs: Sequence[Measured]) -> dict[str, Any]:
    """Medians of some runs; the peak is the highest."""
    return {
        "name": name,
        "note": note,
        "runs": len(runs),
        "records": runs[0].records,
        "records_per_s": round(statistics.median(each.rate for each in runs)),
        "cpu_s_a_million": round(statistics.median(each.cpu_s_a_million for each in runs), 2),
        "peak_mib": round(max(each.peak_mib for each in runs)),
    }
