"""Parts shared by a whole test run: those the collected tests ask for start side by side and stop at its end.

A part that raises `Missing` skips the tests that need it, with the reason; with `EVENTSPHERE_TEST_REQUIRE=all` (or a
comma separated list of part names) that is a failure.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest

from tests.parts.process import Missing

REQUIRE = "EVENTSPHERE_TEST_REQUIRE"
OPTIONAL = frozenset({"chromium", "fluent-bit"})
"""Parts whose absence is never a failure."""


def missing(part: str, reason: str) -> None:
    """Skip the running test, or fail it where the part is required."""
    wanted = {name.strip() for name in os.environ.get(REQUIRE, "").split(",")}
    if part not in OPTIONAL and wanted & {"all", part}:
        pytest.fail(f"{part} is required ({REQUIRE}) but missing: {reason}", pytrace=False)
    pytest.skip(f"{part}: {reason}")


class Pool:
    """Starts parts in threads, once each; `get` waits for one."""

    def __init__(self, makers: dict[str, Callable[[], AbstractContextManager[Any]]]) -> None:
        self._makers = makers
        self._futures: dict[str, Future[Any]] = {}
        self._stacks: list[ExitStack] = []
        self._threads = ThreadPoolExecutor(len(makers), "part")

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._makers)

    def begin(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self._makers and name not in self._futures:
                self._futures[name] = self._threads.submit(self._start, name)

    def get(self, name: str) -> Any:
        self.begin([name])
        try:
            return self._futures[name].result()
        except Missing as error:
            missing(name, str(error))

    def close(self) -> None:
        """Stop every part, side by side."""
        for future in self._futures.values():
            future.cancel()
            if not future.cancelled():
                future.exception()
        list(self._threads.map(ExitStack.close, self._stacks))
        self._threads.shutdown()

    def _start(self, name: str) -> Any:
        stack = ExitStack()
        value = stack.enter_context(self._makers[name]())
        self._stacks.append(stack)
        return value
