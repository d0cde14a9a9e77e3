"""`eventsphere rules`: check rule files before a worker has to refuse them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Rules over logs and events.", no_args_is_help=True)


@app.command()
def check(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Rule files, or folders with *.yaml files.")],
) -> None:
    """Read rule files and tell everything that is wrong with them: file, line, field, what is expected.

    Ends with code 1 when something is. Example: `eventsphere rules check rules/`
    """
    from streams.rules.ruleset import Checked, checked

    results: list[Checked] = [result for path in paths for result in checked(path)]
    errors = [line for result in results for line in result.errors]
    for line in errors:
        typer.echo(line, err=True)
    rules = sum(result.rules for result in results)
    if errors:
        typer.echo(f"{len(errors)} errors in {sum(bool(r.errors) for r in results)} of {len(results)} files", err=True)
        raise typer.Exit(1)
    typer.echo(f"{rules} rules in {len(results)} files: all right")
