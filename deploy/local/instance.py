"""One running instance on this machine: its ports, its lock, and what it tells other commands (`run/instance.json`)."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

DEFAULTS = {"gateway": 8080, "forward": 24224, "kafka": 19092, "controller": 19093, "smtp": 1025, "worker": 8090}


class CannotStart(Exception):
    """Why the instance does not start, and what to do about it; printed as it is."""


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """Loopback ports of an instance; `worker` and `sources` serve metrics and readiness."""

    gateway: int = DEFAULTS["gateway"]
    forward: int = DEFAULTS["forward"]
    kafka: int = DEFAULTS["kafka"]
    controller: int = DEFAULTS["controller"]
    smtp: int = DEFAULTS["smtp"]
    worker: int = DEFAULTS["worker"]
    sources: int = DEFAULTS["worker"] + 1

    @classmethod
    def at(cls, base: int) -> Ports:
        """`base` is the gateway's; the others follow one by one."""
        names = ("gateway", "forward", "kafka", "controller", "smtp", "worker", "sources")
        return cls(**{name: base + offset for offset, name in enumerate(names)})


def require_free(host: str, ports: dict[str, int]) -> None:
    """Raises CannotStart naming each port somebody else listens on."""
    taken = [f"{name} {port}" for name, port in ports.items() if not _is_free(host, port)]
    if taken:
        raise CannotStart(
            f"in use on {host}: {', '.join(taken)}. Stop what listens there, or choose others: "
            "eventsphere up --port-base 9100"
        )


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """What `eventsphere demo` and `status` need to find a running instance. Holds no secret."""

    pid: int
    gateway: str
    """URL."""
    forward: str
    """host:port."""
    kafka: str
    children: dict[str, int] = {}
    """Process ids by name."""
    ready: bool = False
    restarts: int = 0


def _file(data_dir: Path) -> Path:
    return data_dir / "run" / "instance.json"


def publish(data_dir: Path, instance: Instance) -> None:
    file = _file(data_dir)
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(f".{os.getpid()}")
    draft.write_bytes(msgspec.json.encode(instance))
    draft.replace(file)


def running(data_dir: Path) -> Instance | None:
    """The instance that runs on `data_dir` now, None when none does.

    What one that was killed left behind still names its process id, which may be another's by now: the lock decides.
    """
    try:
        instance = msgspec.json.decode(_file(data_dir).read_bytes(), type=Instance)
        with (data_dir / "lock").open() as file:
            return None if _take(file, fcntl.LOCK_SH) else instance
    except (OSError, msgspec.DecodeError):
        return None


def _take(file: IO[str], kind: int) -> bool:
    """Whether nobody else holds a lock that `kind` cannot be beside."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _take_later(file: IO[str]) -> bool:
    """Once more: `running` may just have looked."""
    time.sleep(0.2)
    return _take(file, fcntl.LOCK_EX)


@contextmanager
def lock(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for this process. Raises CannotStart when another holds it."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        opened = (data_dir / "lock").open("a")
    except OSError as error:
        raise CannotStart(f"cannot keep anything in {data_dir}: {error.strerror}; choose another --data-dir") from None
    with opened as file:
        if not (_take(file, fcntl.LOCK_EX) or _take_later(file)):
            other = running(data_dir)
            who = f" (process {other.pid}, {other.gateway})" if other else ""
            raise CannotStart(
                f"another Eventsphere already uses {data_dir}{who}. Stop it, or give this one a folder of its own: "
                "eventsphere up --data-dir DIR --port-base 9100"
            )
        try:
            yield
        finally:
            _file(data_dir).unlink(missing_ok=True)
