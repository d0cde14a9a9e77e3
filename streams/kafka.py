"""Client settings for librdkafka (confluent-kafka) and for Faust's aiokafka, from one typed model."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import Any

import structlog
from confluent_kafka import KafkaError

from streams.settings import Kafka

log = structlog.get_logger(__name__)

REPEAT_S = 30.0
LOG_LEVEL = 2
"""librdkafka's own log: critical only. It tells of a broker that is away at each attempt; `Errors` says it seldom."""


class Errors:
    """Logs a client's errors, each kind once every `every_s`: a broker that is away, wrong credentials."""

    def __init__(self, every_s: float = REPEAT_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._clock = clock
        self._said: dict[str, float] = {}

    def __call__(self, error: KafkaError) -> None:
        now, kind = self._clock(), error.name()
        if now - self._said.get(kind, -self._every_s) >= self._every_s:
            self._said[kind] = now
            log.warning("kafka.error", kind=kind.strip("_").lower(), error=error.str())


class Reasons:
    """Keeps what a client said is wrong, for the text of an error."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self.unauthorized = False
        """The credentials were refused: waiting does not help."""

    def __call__(self, error: KafkaError) -> None:
        self._texts[error.name()] = error.str()
        self.unauthorized = self.unauthorized or error.code() == KafkaError._AUTHENTICATION

    def __str__(self) -> str:
        told = [text for name, text in self._texts.items() if name != "_ALL_BROKERS_DOWN"]
        return "; ".join(told) or "no broker answers; check address and security_protocol"


errors = Errors()
"""Of all clients of this process: they talk to the same brokers."""


def client(kafka: Kafka, **more: Any) -> dict[str, Any]:
    """librdkafka properties; `more` in its dotted names with `_` for `.` is not done: pass a dict by `| {...}`."""
    out: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "security.protocol": kafka.security_protocol,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "log.connection.close": False,
        "broker.address.family": "any",
        "log_level": LOG_LEVEL,
        "error_cb": errors,
    }
    if kafka.sasl_mechanism == "OAUTHBEARER":
        from streams import oauth

        out |= {"sasl.mechanism": kafka.sasl_mechanism} | oauth.librdkafka(kafka)
    elif kafka.sasl_mechanism:
        out |= {
            "sasl.mechanism": kafka.sasl_mechanism,
            "sasl.username": kafka.username,
            "sasl.password": kafka.password.get_secret_value(),
        }
    if "SSL" in kafka.security_protocol:
        for name, value in (
            ("ssl.ca.location", kafka.ca_file),
            ("ssl.certificate.location", kafka.certificate_file),
            ("ssl.key.location", kafka.key_file),
            ("ssl.key.password", kafka.key_password.get_secret_value()),
        ):
            if value:
                out[name] = value
    return out | more


def ssl_context(kafka: Kafka) -> ssl.SSLContext | None:
    if "SSL" not in kafka.security_protocol:
        return None
    context = ssl.create_default_context(cafile=kafka.ca_file or None)
    if kafka.certificate_file:
        context.load_cert_chain(
            kafka.certificate_file, kafka.key_file or None, kafka.key_password.get_secret_value() or None
        )
    return context
