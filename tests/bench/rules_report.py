"""Everything about rules that is measured, as a table with its targets and as a part of docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.bench import rules, rules_worker

Found = Mapping[str, Any]


def measure(console: Console) -> dict[str, Any]:
    with console.status("measuring rules ...") as status:
        found: dict[str, Any] = {"matching": rules.measure(lambda name: status.update(f"measuring {name} ..."))}
        status.update("measuring windows of a worker ...")
        found["state"] = rules_worker.state()
        status.update("measuring the time from a record to its alert ...")
        found["alerts"] = rules_worker.alerts()
    return found


def met(found: Found) -> bool:
    """Whether all targets are."""
    return all(each["ok"] for each in (*found["matching"].values(), found["state"], found["alerts"]))


def rows(found: Found) -> list[tuple[str, ...]]:
    """(what, measured, target, met)."""
    out = [
        (f"{name}, records/s a core", f"{each['records_per_s']:,}", f">= {each['target']:,}", each["ok"])
        for name, each in found["matching"].items()
    ]
    state, late = found["state"], found["alerts"]
    windows = f"{state['windows']:,} live windows"
    return [
        (what, measured, target, "yes" if ok else "NO")
        for what, measured, target, ok in [
            *out,
            (f"{windows}, MiB of the worker", f"{state['mib']}", "< 500", state["mib"] < rules_worker.MAX_MIB),
            *(
                (f"{windows}, {what}", f"{state[key]} s", "< 10 s", state[key] < rules_worker.MAX_S)
                for key, what in (("written_s", "matched and written"), ("restored_s", "worker started with them"))
            ),
            (
                f"record to alert, p99 at {late['rate']:,} records/s (sent {late['rate_sent']:,})",
                f"{late['p99_s']} s",
                f"< {rules_worker.MAX_P99_S} s",
                late["ok"],
            ),
        ]
    ]


def table(found: Found) -> Table:
    made = Table(title="Rules: one worker, records of about 500 bytes, 1 % match")
    for column in ("", "measured", "target", "met"):
        made.add_column(column, justify="right" if column else "left")
    for row in rows(found):
        made.add_row(*row)
    return made


def markdown(found: Found, as_table: Any) -> Sequence[str]:
    """Lines of the documentation; `as_table(head, rows)` makes those of a table."""
    loops = ", ".join(
        f"{name}: {each['records_per_s'] / each['loop_per_s']:.0f} x" for name, each in found["matching"].items()
    )
    state, late = found["state"], found["alerts"]
    return [
        "",
        "## Rules",
        (
            "Records of about 500 bytes, one of a hundred matches; nine of ten rules need a literal where not said "
            "otherwise. From raw bytes to matches ready to be sent, CPU time of one core."
        ),
        "",
        *as_table(("", "measured", "target", "met"), rows(found)),
        "",
        f"Beside a loop that decodes each record and asks one compiled rule after the other: {loops}.",
        "",
        (
            f"The worker alone takes {state['base_mib']} MiB, and {state['empty_s']} s to start without windows. From "
            f"a record's being made to its alert's being read: p50 {late['p50_s']} s, p95 {late['p95_s']} s, at "
            f"{late['rate_sent']:,} records/s, {late['mib']} MiB."
        ),
    ]
