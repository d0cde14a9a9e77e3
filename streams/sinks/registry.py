"""Every channel there is, made from the settings."""

from __future__ import annotations

from streams.settings import Settings
from streams.sinks.alertmanager import Alertmanager
from streams.sinks.apprise_sink import Apprise
from streams.sinks.channel import Channel
from streams.sinks.email_channel import Email
from streams.sinks.kinds import Platform, kinds
from streams.sinks.smtp import Server, parse_url
from streams.sinks.webhook import Webhook


def base_url(settings: Settings) -> str:
    """Where links in notifications lead."""
    url = settings.gateway.public_url or f"http://{settings.gateway.host}:{settings.gateway.port}"
    return url.rstrip("/")


def server(settings: Settings) -> Server:
    """The SMTP server mails go to: the configured one, else the local mailbox."""
    url = settings.smtp.url.get_secret_value()
    return parse_url(url or f"smtp://127.0.0.1:{settings.mailbox.port}")


def channels(settings: Settings) -> list[Channel]:
    private = settings.notify.allow_private_addresses
    url = base_url(settings)
    return [
        Email(server(settings), url),
        Webhook(url, allow_private=private),
        Apprise(url, allow_private=private),
        Alertmanager(allow_private=private),
        *(kind.make(Platform(url, private)) for kind in kinds().values()),
    ]
