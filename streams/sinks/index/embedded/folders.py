"""The folders of a kind's days: which there are, how large, and how one goes or is replaced. Blocking."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from streams.errors import Fatal
from streams.sinks.index.embedded.days import number_of

META = "meta.json"
GONE = ".gone"
"""Ending of a folder that is being deleted."""
DRAFT = ".draft"
"""Ending of one that a day is written anew into."""


def other_version(path: Path) -> Fatal:
    return Fatal(
        "index_version",
        f"{path} is of another version of Eventsphere: run `eventsphere index rebuild`, or move it away",
    )


def days_in(path: Path) -> set[int]:
    """The days there are below a kind's folder. Raises Fatal for one of before there were days."""
    try:
        names = [child.name for child in path.iterdir()]
    except OSError:
        return set()
    if META in names:
        raise other_version(path)
    return {day for name in names if (day := number_of(name)) is not None}


def remove(path: Path) -> None:
    """Delete a day's folder: out of sight at once, whatever becomes of this process."""
    aside = path.with_name(path.name + GONE)
    shutil.rmtree(aside, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def swap(path: Path, instead: Path) -> None:
    """Put the folder `instead` in the place of a day's."""
    aside = path.with_name(path.name + GONE)
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
    instead.rename(path)
    shutil.rmtree(aside, ignore_errors=True)


def leftovers(path: Path) -> Iterator[Path]:
    """What an interrupted deletion or rewriting left below a kind's folder."""
    for child in path.iterdir() if path.is_dir() else ():
        if child.is_dir() and number_of(child.name) is None:
            yield child


def nbytes(path: Path) -> int:
    """What the files in a folder take on disk; those that vanish meanwhile count nothing."""
    total = 0
    for file in path.rglob("*"):
        with contextlib.suppress(OSError):
            total += file.stat().st_blocks * 512
    return total


def share_deleted(path: Path) -> float:
    """Of the documents in a day's files, those that were deleted, from 0 to 1."""
    try:
        segments = msgspec.json.decode((path / META).read_bytes())["segments"]
    except OSError:
        return 0.0
    total = sum(segment["max_doc"] for segment in segments)
    deleted = sum((segment["deletes"] or {}).get("num_deleted_docs", 0) for segment in segments)
    return deleted / total if total else 0.0
