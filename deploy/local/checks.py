"""What has to be right before anything of an instance starts. Each raises CannotStart saying what is not."""

from __future__ import annotations

from pathlib import Path

import yaml

from deploy.local import instance
from deploy.local.instance import CannotStart, Ports
from streams.settings import Settings, WrongSettings
from streams.sources import forward_settings

IN_CLUSTER = "in-cluster"


def require_protected(settings: Settings) -> None:
    """The forward port is not open to the network for anyone, and its certificate can be used."""
    try:
        forward_settings.check(settings.forward)
        forward_settings.tls(settings.forward)
    except WrongSettings as error:
        raise CannotStart(f"wrong settings:\n{error}") from None


def require_files(settings: Settings) -> None:
    """What the settings name by a path is there, and is what it should be."""
    wrong = [
        f"EVENTSPHERE_KUBECONFIGS (kubeconfigs): {path}: no kubeconfig: {why}"
        for path in settings.kubeconfigs
        if path != IN_CLUSTER and (why := _no_kubeconfig(Path(path).expanduser()))
    ]
    for name, folder in (("RULES", settings.rules.dir), ("PROCESS", settings.process.dir)):
        if folder and not Path(folder).is_dir():
            wrong.append(f"EVENTSPHERE_{name}__DIR ({name.lower()}.dir): {folder}: expected a folder with *.yaml files")
    if wrong:
        raise CannotStart("wrong settings:\n" + "\n".join(wrong))


def _no_kubeconfig(path: Path) -> str:
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        return error.strerror or "it cannot be read"
    except (UnicodeDecodeError, yaml.YAMLError):
        return "it is not YAML"
    return "" if isinstance(found, dict) and found.get("clusters") else "it names no clusters"


def require_ports(settings: Settings, ports: Ports) -> None:
    """Nobody else listens where a part of this instance will."""
    instance.require_free(settings.gateway.host, {"gateway": settings.gateway.port})
    instance.require_free(settings.forward.host, {"forward": settings.forward.port})
    inner = {"worker": ports.worker, "sources": ports.sources}
    if not settings.kafka.bootstrap_servers:
        inner |= {"kafka": ports.kafka, "controller": ports.controller}
    if not settings.smtp.url.get_secret_value():
        inner["smtp"] = settings.mailbox.port
    instance.require_free("127.0.0.1", inner)
