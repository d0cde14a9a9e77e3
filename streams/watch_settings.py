"""Settings of how Eventsphere is watched from outside, and whom it tells when it cannot work."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _http(url: SecretStr) -> SecretStr:
    """The complaint does not repeat it: it may hold a token."""
    if url.get_secret_value() and not url.get_secret_value().startswith(("http://", "https://")):
        raise ValueError("expected an http or https URL")
    return url


class Canary(_Section):
    """An alert that makes the whole way, again and again; only when it arrived, a heartbeat goes out."""

    every_s: float = Field(60.0, ge=0, le=3600)
    """0: none."""
    late_s: float = Field(120.0, gt=0)
    """One that took longer counts as missing: no heartbeat for it."""
    heartbeat_url: SecretStr = SecretStr("")
    """A dead man's switch (healthchecks.io, Dead Man's Snitch, another cluster): gets a POST for each that arrived."""

    _is_http = field_validator("heartbeat_url")(_http)


class BreakGlass(_Section):
    """Whom firing alerts of `severities` are told straight away that come to `POST /api/v2/alerts` while Kafka is away.
    They go by mail, by webhook, or both."""

    mail: str = ""
    """Addresses, separated by commas; by the server of EVENTSPHERE_SMTP__URL, else into the local mailbox."""
    webhook_url: SecretStr = SecretStr("")
    """Gets Alertmanager's webhook payload, version 4."""
    webhook_authorization: SecretStr = SecretStr("")
    """The value of its Authorization header."""
    severities: list[str] = ["critical"]
    after_s: float = Field(5.0, gt=0, le=10)
    """How long Kafka may take until it counts as away."""
    repeat_s: float = Field(3600.0, gt=0)
    """An alert that still fires then is told again."""

    _is_http = field_validator("webhook_url")(_http)

    @property
    def configured(self) -> bool:
        return bool(self.mail or self.webhook_url.get_secret_value())
