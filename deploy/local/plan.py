"""What an instance consists of, decided from the settings: its own processes and the settings each of them gets."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deploy.local.instance import Ports
from streams.settings import PREFIX, Kafka, Settings, environment


def settled(settings: Settings, ports: Ports, data_dir: Path, *, chosen: bool) -> Settings:
    """The settings with data directory and ports filled in; ports set by the user win unless `chosen` on the command
    line. The gateway's readiness covers the other processes."""
    given_gateway, given_forward = settings.gateway.model_fields_set, settings.forward.model_fields_set
    gateway: dict[str, object] = {
        "ready_urls": [
            f"{name}=http://127.0.0.1:{port}/readyz"
            for name, port in (("worker", ports.worker), ("sources", ports.sources))
        ],
    }
    forward: dict[str, object] = {}
    mailbox: dict[str, object] = {}
    if chosen or "port" not in given_gateway:
        gateway["port"] = ports.gateway
    if chosen or "port" not in given_forward:
        forward["port"] = ports.forward
    if chosen or "port" not in settings.mailbox.model_fields_set:
        mailbox["port"] = ports.smtp
    return settings.model_copy(
        update={
            "data_dir": str(data_dir),
            "gateway": settings.gateway.model_copy(update=gateway),
            "forward": settings.forward.model_copy(update=forward),
            "mailbox": settings.mailbox.model_copy(update=mailbox),
        }
    )


def with_kafka(settings: Settings, kafka: Kafka) -> Settings:
    return settings.model_copy(update={"kafka": kafka})


COMMANDS = {
    "gateway": [sys.executable, "-m", "gateway.cli.main", "gateway"],
    "worker": [sys.executable, "-m", "agents.run"],
    "sources": [sys.executable, "-m", "streams.sources.main"],
}
"""Our own processes and how each is started."""


def child_environment(settings: Settings, name: str, ports: Ports) -> dict[str, str]:
    """The environment of child `name`: ours without its EVENTSPHERE_ variables, and every setting spelled out."""
    port = {"worker": ports.worker, "sources": ports.sources}.get(name, 0)
    worker = settings.worker.model_copy(update={"metrics_port": port})
    plain = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
    return plain | environment(settings.model_copy(update={"worker": worker})) | {"PYTHONUNBUFFERED": "1"}
