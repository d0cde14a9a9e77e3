"""`eventsphere rules`: check rule files, run their tests, and see what they would have said of what is there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import context, rules_import

if TYPE_CHECKING:
    from schemas.rule_document import Rule, RuleTest
    from streams.rules.cases import Episode

app = typer.Typer(help="Rules over logs and events.", no_args_is_help=True)
app.command("import")(rules_import.import_rules)

Paths = Annotated[list[Path], typer.Argument(metavar="PATH...", help="Rule files, or folders with *.yaml files.")]
WIDTH = 60
"""Characters of the timeline."""


@app.command()
def check(paths: Paths) -> None:
    """Read rule files and tell everything that is wrong with them: file, line, field, what is expected.

    Ends with code 1 when something is. Example: `eventsphere rules check rules/`
    """
    rules, files = _read(paths)
    typer.echo(f"{len(rules)} rules in {files} files: all right")


@app.command("test")
def run_tests(
    paths: Paths,
    perturb: Annotated[
        int,
        typer.Option(
            min=0, max=1000, metavar="N", help="Also N times with records spread, repeated and read again: same alerts?"
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of the first of these times.")] = 0,
) -> None:
    """Run the `tests` of rules: records over time, and the alerts they must make.

    Ends with code 1 when one fails. Examples: `eventsphere rules test rules/` ·
    `eventsphere rules test rules/shop.yaml --perturb 20`
    """
    rules, _ = _read(paths)
    ran = failed = 0
    for rule in rules:
        for case in rule.tests:
            ran += 1
            wrong = _failures(rule, case, perturb, seed)
            failed += bool(wrong)
            typer.echo(f"{'FAIL' if wrong else 'ok  '} {rule.name}: {case.name}")
            for line in wrong:
                typer.echo(f"     {rule.file}:{case.line}: {line}", err=True)
    typer.echo(f"{ran} tests of {len(rules)} rules, {failed} failed")
    if failed:
        raise typer.Exit(1)
    if not ran:
        context.warn("no rule has tests: see docs/how-to/write-a-rule.md")


def _failures(rule: Rule, case: RuleTest, perturb: int, seed: int) -> list[str]:
    from gateway.rules_trials import failures

    return failures(rule, case, perturb, seed)


@app.command()
def backtest(
    paths: Paths,
    since: Annotated[str, typer.Option(metavar="DURATION", help="How far back, such as 15m, 24h or 7d.")] = "24h",
    rule: Annotated[list[str] | None, typer.Option(help="Only the rule of this name; may be repeated.")] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Also the timeline as a picture (SVG).")
    ] = None,
    data_dir: context.DataDir = "",
) -> None:
    """Play rules over the records that are on the topics: which alerts there would have been, when and for how long.

    Nothing is sent and nothing changes. Workloads are known by the names of pods alone here.
    Examples: `eventsphere rules backtest rules/shop.yaml --since 24h` ·
    `eventsphere rules backtest rules/ --picture fired.svg`
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from gateway.backtest import backtest as play
    from streams.rules.ruleset import RuleSet
    from streams.yaml_nodes import parse_duration

    try:
        span_ms = parse_duration(since)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None
    rules, _ = _read(paths)
    if rule and (unknown := set(rule) - {each.name for each in rules}):
        raise typer.BadParameter(f"no rule {', '.join(sorted(unknown))} in these files", param_hint="--rule")
    chosen = RuleSet([each for each in rules if not rule or each.name in rule])
    settings = context.connected(data_dir)
    now_ms = time.time_ns() // 1_000_000
    bar = Progress(
        TextColumn("reading"), BarColumn(), MofNCompleteColumn(), console=Console(stderr=True), transient=True
    )
    with context.reported(), bar:
        task = bar.add_task("reading", total=None)

        def read(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        result = play(settings.kafka, chosen, now_ms - span_ms, now_ms, read)
    _show(result.episodes, now_ms - span_ms, now_ms)
    if picture is not None:
        _draw(picture, result.episodes, now_ms - span_ms, now_ms)
    typer.echo(f"{result.read} records read, {result.matched} matched, {len(result.episodes)} alerts in {since}")


def _show(episodes: list[Episode], from_ms: int, until_ms: int) -> None:
    from rich.console import Console
    from rich.table import Table

    from schemas.base import rfc3339
    from streams.rules.alert import duration

    table = Table("alert", "labels", "begins", "lasts", "timeline", box=None)
    for each in episodes:
        labels = ", ".join(f"{k}={v}" for k, v in each.labels.items() if k not in ("alertname", "severity"))
        lasts = duration((each.until_ms - each.from_ms) // 1000 * 1000) if each.until_ms else "firing"
        table.add_row(each.name, labels, rfc3339(each.from_ms), lasts, timeline(each, from_ms, until_ms))
    if episodes:
        Console(width=None if Console().is_terminal else 200).print(table)


def _draw(path: Path, episodes: list[Episode], from_ms: int, until_ms: int) -> None:
    from gateway.rules_trials import timeline as drawn

    try:
        path.write_text(drawn(episodes, from_ms, until_ms, alone=True), "utf-8")
    except OSError as error:
        context.fail(f"{path} cannot be written: {error}")


def timeline(episode: Episode, from_ms: int, until_ms: int) -> str:
    """When it fired, as a line of `WIDTH` characters for the whole time."""
    step = max(1, (until_ms - from_ms) // WIDTH)
    begin, end = episode.from_ms, episode.until_ms or until_ms
    return "".join(
        "█" if at < end and at + step > begin else "·" for at in range(from_ms, from_ms + step * WIDTH, step)
    )


def _read(paths: list[Path]) -> tuple[list[Rule], int]:
    """The rules, and of how many files. Tells what is wrong and ends with code 1 when something is."""
    from streams.rules.ruleset import checked

    results = [result for path in paths for result in checked(path)]
    errors = [line for result in results for line in result.errors]
    for line in errors:
        typer.echo(line, err=True)
    if errors:
        typer.echo(f"{len(errors)} errors in {sum(bool(r.errors) for r in results)} of {len(results)} files", err=True)
        raise typer.Exit(1)
    return [rule for result in results for rule in result.rules], len(results)
