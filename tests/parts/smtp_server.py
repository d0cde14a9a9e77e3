"""An SMTP server (aiosmtpd) as a process of its own that notes every mail it took: `python -m ... PORT FILE DELAY_S`.

A line a mail: when it was taken (ms), recipient, Message-ID. It is written before the answer, which comes `DELAY_S`
later, so what the sender heard `250` for is in the file.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any, NamedTuple

from tests.parts.process import Process, folder, free_port, listens, running


class Taken(NamedTuple):
    at_ms: int
    recipient: str
    message_id: str


class Handler:
    def __init__(self, file: int, delay_s: float) -> None:
        self._file = file
        self._delay_s = delay_s

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:
        headers = BytesHeaderParser().parsebytes(envelope.original_content or b"")
        at_ms = time.time_ns() // 1_000_000
        for recipient in envelope.rcpt_tos:
            os.write(self._file, f"{at_ms} {recipient} {headers['Message-ID']}\n".encode())
        await asyncio.sleep(self._delay_s)
        return "250 OK"


class Server:
    def __init__(self, port: int, file: Path) -> None:
        self.port = port
        self.file = file

    def taken(self) -> list[Taken]:
        lines = (line.split(" ", 2) for line in self.file.read_text("utf-8").splitlines())
        return [Taken(int(at), recipient, message_id) for at, recipient, message_id in lines]


@contextmanager
def smtp_server(delay_s: float = 0.0) -> Iterator[Server]:
    port = free_port()
    with folder("smtp") as base:
        file = base / "taken"
        file.touch()
        command = [sys.executable, "-m", __name__, str(port), str(file), str(delay_s)]
        process = Process("smtp server", command, base / "log", cwd=Path(__file__).parents[2])
        with running(process, listens(port)):
            yield Server(port, file)


def main(port: int, path: str, delay_s: float) -> None:
    from aiosmtpd.controller import Controller

    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    controller = Controller(Handler(file, delay_s), hostname="127.0.0.1", port=port)
    controller.start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    controller.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
