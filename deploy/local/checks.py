"""What has to be right before anything of an instance starts. Each raises CannotStart saying what is not."""

from __future__ import annotations

from deploy.local import instance
from deploy.local.instance import CannotStart, Ports
from streams.settings import Settings, WrongSettings
from streams.sources import forward


def require_protected(settings: Settings) -> None:
    """The forward port is not open to the network for anyone, and its certificate can be used."""
    try:
        forward.check(settings.forward)
        forward.tls(settings.forward)
    except WrongSettings as error:
        raise CannotStart(f"wrong settings:\n{error}") from None


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
