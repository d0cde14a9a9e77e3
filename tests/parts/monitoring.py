"""Debian's Prometheus, Alertmanager and amtool."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.parts.process import Process, answers, folder, free_port, free_ports, program, running

AMTOOL_PACKAGE = "prometheus-alertmanager"


def amtool() -> str:
    """The path of amtool. Raises Missing."""
    return program("amtool", package=AMTOOL_PACKAGE)


@contextmanager
def prometheus(config: str, rules: str = "") -> Iterator[str]:
    """A Prometheus with `config` (its file) and `rules` (in `rules.yml` beside it); yields its URL. Raises Missing."""
    binary = program("prometheus", package="prometheus")
    port = free_port()
    with folder("prometheus") as base:
        (base / "prometheus.yml").write_text(config, "utf-8")
        (base / "rules.yml").write_text(rules, "utf-8")
        command = [binary, f"--config.file={base}/prometheus.yml", f"--storage.tsdb.path={base}/data"]
        command += [f"--web.listen-address=127.0.0.1:{port}"]
        url = f"http://127.0.0.1:{port}"
        with running(Process("prometheus", command, base / "log"), answers(f"{url}/-/ready"), 90):
            yield url


@contextmanager
def alertmanager(
    config: str = "route: {receiver: none}\nreceivers: [{name: none}]\n", *, alone: bool = False
) -> Iterator[str]:
    """An Alertmanager; yields its URL. `alone`: it waits for no peers before it notifies. Raises Missing."""
    binary = program("prometheus-alertmanager", "alertmanager", package=AMTOOL_PACKAGE)
    port, cluster = free_ports(2)
    with folder("alertmanager") as base:
        file: Path = base / "alertmanager.yml"
        file.write_text(config, "utf-8")
        command = [
            binary,
            f"--config.file={file}",
            f"--storage.path={base}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        command += [f"--cluster.listen-address={'' if alone else f'127.0.0.1:{cluster}'}"]
        url = f"http://127.0.0.1:{port}"
        with running(Process("alertmanager", command, base / "log"), answers(f"{url}/-/ready"), 60):
            yield url
