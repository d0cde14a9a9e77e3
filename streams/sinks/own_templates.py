"""Jinja templates that people write, rendered in a process of their own (template_child.py).

There a loop, a huge number or a clever expression costs its own process, which is ended after `TIMEOUT_S`, has little
memory, no secrets in its environment, and gives at most `MAX_OUTPUT` characters. It starts when it is first needed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from streams.sinks.template_child import LINE_BYTES

START_S = 30.0
TIMEOUT_S = 2.0
"""For one rendering."""
MAX_TEMPLATE = 64 << 10


class NotRendered(Exception):
    """Why, in one line."""


class Renderer:
    def __init__(self) -> None:
        self._child: asyncio.subprocess.Process | None = None
        self._lock = asyncio.Lock()

    async def render(self, template: str, data: Mapping[str, Any], *, html: bool = False) -> str:
        """`data`: the names the template may use. Raises NotRendered."""
        if len(template) > MAX_TEMPLATE:
            raise NotRendered(f"the template is longer than {MAX_TEMPLATE >> 10} Ki characters")
        line = msgspec.json.encode({"template": template, "data": data, "html": html}) + b"\n"
        if len(line) > LINE_BYTES:
            raise NotRendered("there is more to show than a template is given")
        async with self._lock:
            try:
                answer = await self._asked(line)
            except TimeoutError:
                await self._end()
                raise NotRendered(f"it took longer than {TIMEOUT_S:.0f} s") from None
            except (OSError, EOFError, ValueError, asyncio.IncompleteReadError):
                await self._end()
                raise NotRendered("it took more memory than a template may") from None
            except BaseException:
                await self._end()  # cancelled: an answer may still come
                raise
        if "error" in answer:
            raise NotRendered(str(answer["error"]))
        return str(answer["text"])

    async def close(self) -> None:
        await self._end()

    async def _asked(self, line: bytes) -> dict[str, Any]:
        child = await self._started()
        assert child.stdin is not None  # noqa: S101
        assert child.stdout is not None  # noqa: S101
        child.stdin.write(line)
        async with asyncio.timeout(TIMEOUT_S):
            await child.stdin.drain()
            said = await child.stdout.readuntil(b"\n")
        answer: dict[str, Any] = msgspec.json.decode(said)
        return answer

    async def _started(self) -> asyncio.subprocess.Process:
        if self._child is not None and self._child.returncode is None:
            return self._child
        self._child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "streams.sinks.template_child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
            limit=LINE_BYTES,
        )
        assert self._child.stdout is not None  # noqa: S101
        async with asyncio.timeout(START_S):
            await self._child.stdout.readuntil(b"\n")  # it says so once it is there
        return self._child

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
