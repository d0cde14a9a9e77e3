"""Client settings for librdkafka (confluent-kafka) and for Faust's aiokafka, from one typed model."""

from __future__ import annotations

import ssl
from typing import Any

from streams.settings import Kafka


def client(kafka: Kafka, **more: Any) -> dict[str, Any]:
    """librdkafka properties; `more` in its dotted names with `_` for `.` is not done: pass a dict by `| {...}`."""
    out: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "security.protocol": kafka.security_protocol,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        "log.connection.close": False,
        "broker.address.family": "any",
    }
    if kafka.sasl_mechanism:
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
