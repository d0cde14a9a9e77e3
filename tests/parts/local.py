"""Eventsphere itself as a part: `eventsphere up` in a process of its own, on free ports, as its users start it."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from deploy.local import instance
from deploy.local.instance import Instance
from tests.parts.process import folder

T = TypeVar("T")
SPAN = 7
"""Ports an instance takes from its base on."""
BASES = (12_000, 30_000)
START_S, STOP_S = 240.0, 25.0
COMMAND = [sys.executable, "-m", "gateway.cli.main"]
ROOT = Path(__file__).parents[2]


class Local:
    """One instance over `data_dir`; `settings` are EVENTSPHERE_ variables without the prefix."""

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.base = free_base()
        self.password = ""
        self.settings = {"CANARY__EVERY_S": "0"} | dict(settings or {})
        self._process: subprocess.Popen[str] | None = None
        self._tokens: dict[tuple[str, ...], str] = {}

    @property
    def env(self) -> dict[str, str]:
        plain = {key: value for key, value in os.environ.items() if not key.startswith("EVENTSPHERE_")}
        return plain | {f"EVENTSPHERE_{key}": value for key, value in self.settings.items()}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.base}"

    @property
    def forward(self) -> str:
        return f"127.0.0.1:{self.base + 1}"

    @property
    def now(self) -> Instance:
        """What runs now. Fails when nothing does."""
        found = instance.running(self.data_dir)
        assert found is not None, "no instance runs"
        return found

    def start(self) -> float:
        """Start and wait for the lines that say it is ready; returns the seconds it took."""
        began = time.monotonic()
        command = [*COMMAND, "up", "--data-dir", str(self.data_dir), "--port-base", str(self.base)]
        errors = (self.data_dir.parent / f"{self.data_dir.name}.stderr").open("a")
        with errors:
            self._process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                stdin=subprocess.DEVNULL,
                text=True,
                env=self.env,
                cwd=ROOT,
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("admin password: "):
                self.password = line.removeprefix("admin password: ").strip()
            if line.startswith("kafka: "):
                break
        else:
            raise AssertionError(f"it did not start:\n{self.logs()}")
        self._await_password()
        return time.monotonic() - began

    def _await_password(self) -> None:
        """On the first start one more line follows."""
        assert self._process is not None
        assert self._process.stdout is not None
        if not self.password:
            self.password = self._process.stdout.readline().removeprefix("admin password: ").strip()

    def stop(self) -> float:
        """SIGTERM; returns the seconds until it had ended."""
        assert self._process is not None
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        finally:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
        return time.monotonic() - began

    def kill(self, name: str) -> None:
        """kill -9 of one child, by name."""
        pid = self.now.children.get(name, 0)
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def run(self, *arguments: str, timeout_s: float = 240) -> str:
        """A command of the CLI on this instance's data; returns what it printed. Raises AssertionError on failure."""
        done = subprocess.run(
            [*COMMAND, *arguments], capture_output=True, text=True, timeout=timeout_s, env=self.env, cwd=ROOT
        )
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def token(self, *scopes: str) -> str:
        """A machine token with `scopes`, made by the CLI once."""
        if scopes not in self._tokens:
            given = [argument for scope in scopes for argument in ("--scope", scope)]
            out = self.run("token", "create", "--name", "test", *given, "--data-dir", str(self.data_dir))
            found = re.search(r"est_\w+_\w+", out)
            assert found is not None, out
            self._tokens[scopes] = found[0]
        return self._tokens[scopes]

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str = "",
        query: Mapping[str, str | int] | None = None,
    ) -> Any:
        """One HTTP call, as everything-allowed unless `token`; returns the JSON. Raises urllib's HTTPError."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        url = f"{self.url}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        headers = {"Authorization": f"Bearer {token or self.token('*')}", "Content-Type": "application/json"}
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as reply:
            raw = reply.read()
            return json.loads(raw) if raw.strip() else None

    def get(self, path: str, **query: str | int) -> Any:
        return self.call("GET", path, query=query)

    def mails(self, *words: str) -> list[dict[str, Any]]:
        """Mails in the local mailbox whose subject has all of `words`."""
        items = self.get("/api/v1/mailbox", limit=200)["items"]
        return [item for item in items if all(word in item["subject"] for word in words)]

    def count_logs(self, **query: str | int) -> int:
        return int(self.get("/api/v1/logs", limit=1, **query)["total"])

    def logs(self) -> str:
        """The end of every log, for a failing test's message."""
        files = [self.data_dir.parent / f"{self.data_dir.name}.stderr", *sorted((self.data_dir / "logs").glob("*.log"))]
        return "\n".join(f"--- {f.name}\n{_tail(f)}" for f in files)


def free_base() -> int:
    """A port after which the next `SPAN` are free too; below those the system gives to outgoing connections, one of
    which would take it before the instance does."""
    while True:
        base = random.randrange(*BASES)
        with suppress(instance.CannotStart):
            instance.require_free("127.0.0.1", {str(port): port for port in range(base, base + SPAN)})
            return base


def until(ask: Callable[[], T], enough: Callable[[T], bool] = bool, *, within_s: float = 90, every_s: float = 0.3) -> T:
    """Ask again until `enough(answer)`; returns that answer. Refused connections and 5xx count as not yet."""
    deadline = time.monotonic() + within_s
    found: object = None
    while time.monotonic() < deadline:
        try:
            found = answer = ask()
            if enough(answer):
                return answer
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise
            found = error
        except OSError as error:
            found = error
        time.sleep(every_s)
    raise AssertionError(f"not within {within_s:.0f} s; last: {found!r}")


def _tail(file: Path, lines: int = 25) -> str:
    return "\n".join(file.read_text("utf-8", "replace").splitlines()[-lines:])


@contextmanager
def local(**settings: str) -> Iterator[Local]:
    """A started instance in a folder of its own."""
    with folder("local") as base:
        part = Local(base / "data", settings)
        part.start()
        try:
            yield part
        finally:
            part.stop()
