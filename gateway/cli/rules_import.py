"""`eventsphere rules import`: rules of other programs as rule files of ours, and which of them cannot be."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.rules.imports.formats import Format

if TYPE_CHECKING:
    from streams.rules.imports.draft import Outcome
    from streams.rules.imports.importing import Written
    from streams.rules.imports.mapping import Mapped

MAX_ROWS = 200
"""Of the table: beyond it rules that were taken over without a remark are only counted."""


def import_rules(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, or folders with *.yaml and *.yml.")],
    format_: Annotated[
        Format | None, typer.Option("--format", help="What they are; guessed of each document otherwise.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Which records the rules look at, and names of fields.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write rule files there; without it they are printed.")
    ] = None,
) -> None:
    """Take over rules of other programs: what cannot be said here is refused with the reason, never weakened.

    Rule files are printed or written, the table of what became of each rule goes to stderr. Ends with code 1 when one
    was refused. Examples: `eventsphere rules import cluster-rules-default.yaml` ·
    `eventsphere rules import --format sigma sigma/rules --out rules/sigma`
    """
    from streams.rules.imports.importing import documents, files_of, imported

    files, wrong = files_of(paths)
    outcomes = [*wrong, *imported(files, format_, _mapped(mapping))]
    made = documents(outcomes)
    if out is None:
        for each in made:
            typer.echo(each.text, nl=False)
    else:
        _write(out, made)
    refused = sum(outcome.draft is None for outcome in outcomes)
    _show(outcomes)
    typer.echo(f"{len(outcomes) - refused} rules taken over, {refused} refused", err=True)
    if refused:
        raise typer.Exit(1)


def _mapped(path: Path | None) -> Mapped | None:
    from streams.rules.imports.mapping import parse_mapping

    if path is None:
        return None
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}", param_hint="--mapping") from None
    mapped, errors = parse_mapping(text, str(path))
    if errors:
        raise typer.BadParameter("\n".join(errors), param_hint="--mapping")
    return mapped


def _write(folder: Path, made: list[Written]) -> None:
    """Files that an earlier import did not write are left alone."""
    from streams.rules.imports.importing import MARK

    folder.mkdir(parents=True, exist_ok=True)
    for each in made:
        path = folder / each.name
        if path.exists() and not path.read_text("utf-8", errors="replace").startswith(MARK):
            raise typer.BadParameter(f"{path} is there, and no import wrote it", param_hint="--out")
    for each in made:
        (folder / each.name).write_text(each.text, "utf-8")
        typer.echo(f"{folder / each.name}: {each.rules} rules", err=True)


def _show(outcomes: list[Outcome]) -> None:
    told = [
        (each.name, each.place, "refused" if each.draft is None else "taken over", _why(each))
        for each in outcomes
        if len(outcomes) <= MAX_ROWS or each.draft is None or each.draft.notes
    ]
    _table(told)
    if len(outcomes) > MAX_ROWS:
        kinds = Counter(_kind(each.reason) for each in outcomes if each.draft is None)
        for reason, count in kinds.most_common(20):
            typer.echo(f"{count:6} refused: {reason}", err=True)


def _why(outcome: Outcome) -> str:
    return outcome.reason if outcome.draft is None else "; ".join(outcome.draft.notes)


def _table(rows: list[tuple[str, str, str, str]]) -> None:
    """For people; for programs a line each, as compilers have them."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        for name, place, became, why in rows:
            typer.echo(": ".join(filter(None, (place, became, name, why))), err=True)
        return
    table = Table("rule", "from", "", "why", box=None)
    for row in rows:
        table.add_row(*map(Text, row))
    if rows:
        console.print(table)


def _kind(reason: str) -> str:
    return reason.split(":", 1)[-1].strip() if reason.startswith("cannot be said") else reason.rpartition(": ")[2]
