"""A partition of keyed state on its way to us and while it is ours: who else writes, and what waits for that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

import msgspec

from streams.errors import Fatal, Retryable
from streams.partition import Partition
from streams.state import Core
from streams.state_log import Followed

E = TypeVar("E")
QUIET_MS = 30_000
"""Time passes, whatever is missing, when no batch came for so long."""


class Fenced(Exception):
    """Another owner has claimed the partition since."""


class Owned(Generic[E]):
    """A partition that is, or is about to be, ours."""

    partition: Partition[E]

    def __init__(self, followed: Followed, wake: asyncio.Event, alive: Callable[[], None]) -> None:
        """`alive` is called whenever something was read: a long load is no standstill."""
        self.followed = followed
        self._alive = alive
        self.wake = wake
        self.active_ms = 0
        """When a batch last came, or when it was loaded."""
        self.looked: tuple[int, int] | None = None
        """(end of the input partition, when that was asked, in ms): once everything up to there is applied, it is
        known what happened until then."""
        self.gone = False

    def check(self) -> None:
        """Raises unless what we write still counts, as far as is known."""
        if self.followed.failure is not None:
            raise self.followed.failure
        if self.gone:
            raise Retryable("revoked")
        if self.followed.reader.epoch > self.followed.reader.mine > 0:
            raise Fenced

    def known_ms(self, now_ms: int) -> int | None:
        """Up to when time may pass, None while input of then is not applied. At last it passes anyway: part of the
        input may never come (a gap at its end, or what was applied by a state that is lost)."""
        if now_ms - self.active_ms > QUIET_MS:
            return now_ms
        if self.looked is None:
            return None
        end, looked_ms = self.looked
        return looked_ms if max(self.partition.position, self.partition.applied.offset) >= end else None

    async def confirm(self, seq: int) -> None:
        await self.until(lambda: self.followed.reader.confirmed >= seq)

    async def until(self, condition: Callable[[], bool]) -> None:
        while True:
            self.wake.clear()
            self._alive()
            # In this order: what is confirmed stands before any later claim.
            if condition():
                return
            self.check()
            await self.wake.wait()


def waker(event: asyncio.Event) -> Callable[[], None]:
    loop = asyncio.get_running_loop()

    def wake() -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(event.set)

    return wake


def decoder(core: Core[E], upgraded: list[str], where: str) -> Callable[[str, int, bytes], E]:
    """Decodes entries of the core's version; those of the version before through its `upgrade`, noting their keys."""
    decode = msgspec.json.Decoder(core.entry).decode
    upgrade = getattr(core, "upgrade", None)

    def decoded(key: str, version: int, entry: bytes) -> E:
        if version == core.version:
            return decode(entry)
        if version == core.version - 1 and upgrade is not None:
            upgraded.append(key)
            return upgrade(key, entry)  # type: ignore[no-any-return]
        raise Fatal(
            "state_version",
            f"{where} holds entries of version {version}; this program reads {core.version}"
            + (f" and {core.version - 1}" if upgrade is not None else "")
            + ": run the version that wrote them, or delete the topic to start without state",
        )

    return decoded
