"""What a person sees while an instance starts: a spinner with the time each step takes; plain lines without a terminal.

All of it goes to stderr: stdout carries only the lines that programs read.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn


class Progress:
    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bars: Bars | None = None
        if sys.stderr.isatty():
            self._bars = Bars(
                SpinnerColumn(finished_text="[green]✓[/]"),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._bars.start()

    @contextmanager
    def step(self, what: str, done: str = "") -> Iterator[None]:
        """Show `what` while the body runs; then `done`, or the same text, with the seconds it took."""
        began = time.monotonic()
        task = self._bars.add_task(what, total=1) if self._bars else None
        yield
        if self._bars is not None and task is not None:
            self._bars.update(task, completed=1, description=done or what)
        else:
            self._console.print(f"{done or what}: {time.monotonic() - began:.1f} s")

    def note(self, text: str) -> None:
        self._console.print(text)

    def close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
