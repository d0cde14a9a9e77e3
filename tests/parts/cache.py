"""What parts are made of, kept across checkouts in `${XDG_CACHE_HOME:-~/.cache}/eventsphere`, one maker at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.parts.process import Missing, run

DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"


def cache_dir() -> Path:
    path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eventsphere"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold `name` against other test runs of this user: the second waits and then finds the thing made."""
    with (cache_dir() / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def maven_artifact(coordinate: str, packaging: str) -> Path:
    """The file of `group:artifact:version` from Maven, downloaded once. Raises Missing when it cannot be had."""
    artifact, version = coordinate.split(":")[1:]
    file = cache_dir() / f"{artifact}-{version}.{packaging}"
    with lock(file.name):
        if file.exists():
            return file
        maven = shutil.which("mvn")
        if maven is None:
            raise Missing(f"{file.name} is not in the cache and mvn is not installed (Debian package maven)")
        repository = cache_dir() / "maven"
        what = f"-Dartifact={coordinate}:{packaging}"
        get = [maven, "-B", "-q", f"-Dmaven.repo.local={repository}", f"{DEPENDENCY_PLUGIN}:get", what]
        try:
            run([*get, "-Dtransitive=false"], timeout_s=900)
        except RuntimeError as error:
            raise Missing(f"{coordinate} could not be downloaded: {error}") from error
        found = next(repository.glob(f"**/{artifact}-{version}.{packaging}"))
        found.rename(file)
        shutil.rmtree(repository, ignore_errors=True)
        return file
