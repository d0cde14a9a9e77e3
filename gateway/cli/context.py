"""What every command starts from: settings, errors that say what to do, and how to reach a local instance."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from streams.errors import Failure, Retryable
from streams.settings import CONFIG, Kafka, Settings, WrongSettings, load

DataDir = Annotated[
    str,
    typer.Option("--data-dir", metavar="DIR", help="The instance's data directory (default: the user's data folder)."),
]


def fail(text: str, code: int = 1) -> NoReturn:
    """Say on stderr what is wrong and end."""
    typer.secho(f"eventsphere: {text}", fg=typer.colors.RED if sys.stderr.isatty() else None, err=True)
    raise typer.Exit(code)


def warn(text: str) -> None:
    """Say on stderr what is probably not meant, and go on."""
    typer.secho(f"eventsphere: {text}", fg=typer.colors.YELLOW if sys.stderr.isatty() else None, err=True)


@contextmanager
def reported() -> Iterator[None]:
    """Turn the errors a user can do something about into one line and exit code 1."""
    try:
        yield
    except Failure as error:
        fail(error.detail or error.reason)


@contextmanager
def reaching(kafka: Kafka) -> Iterator[None]:
    """Say which Kafka does not answer, and where its address is set."""
    try:
        yield
    except Retryable as error:
        fail(
            f"Kafka at {kafka.bootstrap_servers} (EVENTSPHERE_KAFKA__BOOTSTRAP_SERVERS) does not do what is asked: "
            f"{error.detail or error.reason}"
        )


def settings(data_dir: str = "") -> Settings:
    """Settings from file and environment; ends with exit code 2 naming what is wrong."""
    try:
        out = load(os.environ.get(CONFIG))
    except WrongSettings as error:
        fail(f"wrong settings:\n{error}", 2)
    return out.model_copy(update={"data_dir": data_dir}) if data_dir else out


def startable(data_dir: str = "") -> Settings:
    """The same for what runs on: the alerting configuration must be right too."""
    from streams.alerting import WrongConfig
    from streams.alerting import load as load_alerting

    out = settings(data_dir)
    try:
        load_alerting(out)
    except WrongConfig as error:
        fail(f"wrong alerting configuration (EVENTSPHERE_ALERTING__CONFIG):\n{error}", 2)
    return out


def check_documents(settings: Settings) -> None:
    """What indexes stops at wrong processing documents, since what was to be masked must not be indexed: say so now."""
    from streams.process.held import checked

    if settings.process.dir:
        errors = [line for result in checked(Path(settings.process.dir)) for line in result.errors]
        if errors:
            fail("wrong processing documents (EVENTSPHERE_PROCESS__DIR):\n" + "\n".join(errors), 2)


def warn_of_rules(settings: Settings) -> None:
    """Rule files with errors stop nothing: what is right in the others applies. Whoever starts it should know."""
    from streams.rules.ruleset import checked

    if settings.rules.dir:
        errors = [line for result in checked(Path(settings.rules.dir)) for line in result.errors]
        if errors:
            warn("wrong rule files (EVENTSPHERE_RULES__DIR), left out:\n" + "\n".join(errors))


def connected(data_dir: str = "") -> Settings:
    """The same with Kafka filled in from the instance running on this machine when no Kafka is set."""
    from deploy.local import instance
    from deploy.local.broker import Broker
    from gateway.files import data_dir as folder_of

    out = settings(data_dir)
    if out.kafka.bootstrap_servers:
        return out
    with reported():
        folder = folder_of(out).resolve()
    running = instance.running(folder)
    if running is None:
        fail(
            f"no Eventsphere runs on {folder}. Start one with `eventsphere up`, name its --data-dir, or set "
            "EVENTSPHERE_KAFKA__BOOTSTRAP_SERVERS."
        )
    port = int(running.kafka.rpartition(":")[2])
    kafka = Broker(Path(folder) / "broker", port, port + 1).kafka
    return out.model_copy(update={"kafka": kafka, "data_dir": str(folder)})


def since(text: str, now_ms: int, option: str = "--since") -> int:
    """`2h` (ago), or a time, as ms since the epoch; ends with exit code 2 for anything else."""
    from gateway import times
    from gateway.problems import Problem

    try:
        return times.parse(option, f"-{text}" if re.fullmatch(r"\d+[smhdw]", text) else text, now_ms)
    except Problem as error:
        fail(str(error.detail), 2)
