"""A child process of the tests: its port, its log, its readiness and its end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

STOP_S = 15.0


class Missing(Exception):
    """A part cannot be had on this machine; the text says what is missing and how to get it."""


def free_ports(count: int) -> list[int]:
    """`count` loopback ports nobody listens on now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def free_port() -> int:
    return free_ports(1)[0]


def program(*names: str, package: str, folders: Sequence[str] = ("/usr/sbin", "/sbin")) -> str:
    """The path of the first of `names` that is installed. Raises Missing naming the Debian package."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *folders])
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    raise Missing(f"{names[0]} is not installed (Debian package {package})")


def unprivileged(*names: str) -> str | None:
    """The user that servers which refuse to be root run as: the first of `names`, else nobody; None when not root."""
    if os.geteuid() != 0:
        return None
    for name in (*names, "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise Missing("there is no user a server can run as")


@contextmanager
def folder(name: str, owner: str | None = None) -> Iterator[Path]:
    """A new folder that `owner` can reach (pytest's own are closed to other users), removed at the end."""
    path = Path(tempfile.mkdtemp(prefix=f"eventsphere-{name}-"))
    path.chmod(0o755)
    if owner:
        shutil.chown(path, owner)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def run(command: Sequence[str | Path], *, user: str | None = None, timeout_s: float = 120, **env: str) -> str:
    """Run to the end; returns what it printed. Raises RuntimeError with the end of the output when it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        timeout=timeout_s,
        user=user,
        extra_groups=[] if user else None,
        env=os.environ | env,
        cwd="/" if user else None,
    )
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{text[-2000:]}")
    return text


class Process:
    """One server process in a process group of its own; what it prints goes to `log`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        *,
        user: str | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._command = [str(part) for part in command]
        self._user = user
        self._cwd = cwd
        self._env = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._cwd or "/",
                env=self._env,
                user=self._user,
                extra_groups=[] if self._user else None,
                start_new_session=True,
            )

    def wait_until(self, ready: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Return once `ready()` is true. Raises RuntimeError with the end of the log when it ends or takes too long."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"{self.name} ended while starting:\n{self.tail()}")
            if ready():
                return
            time.sleep(0.05)
        raise RuntimeError(f"{self.name} was not ready within {timeout_s:.0f} s:\n{self.tail()}")

    @property
    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def stop(self, first: signal.Signals = signal.SIGTERM) -> None:
        if self._process is None:
            return
        self._signal(first)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_S)
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def kill(self) -> None:
        """kill -9, for tests of what survives it."""
        self.stop(signal.SIGKILL)

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def answers(url: str, **headers: str) -> Callable[[], bool]:
    """A readiness check: `url` answers GET with 200."""

    def check() -> bool:
        request = urllib.request.Request(url, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=2) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    return check


def listens(port: int) -> Callable[[], bool]:
    """A readiness check: a loopback port accepts connections."""

    def check() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    return check


@contextmanager
def running(process: Process, ready: Callable[[], bool], timeout_s: float = 60.0) -> Iterator[Process]:
    """`process` from ready to its end."""
    process.start()
    try:
        process.wait_until(ready, timeout_s)
        yield process
    finally:
        process.stop()
