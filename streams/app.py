"""The Faust app of a worker: agents, channels and supervision, and the low-volume topic `platform.control`.

Its consumer group is of this process alone, for two reasons: every worker hears every control message, and a worker
started again after `kill -9` does not wait until the group has missed its former self (10 s). The group holds no
offsets worth keeping (`latest`: what was said before the start is read from where it is kept), so Kafka forgets it.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from typing import Any

import faust

from streams.kafka import ssl_context
from streams.settings import Kafka

SESSION_TIMEOUT_S = 10.0
HEARTBEAT_S = 1.0
REPEAT_S = 30.0
TALKATIVE = ("aiokafka", "aiokafka.consumer.fetcher", "aiokafka.consumer.group_coordinator", "aiokafka.producer.sender")
"""Loggers of the client that, while a broker is away, say so at every attempt: ten times a second."""


class Seldom(logging.Filter):
    """Lets a logger say the same thing (whatever it is about) once every `every_s`."""

    def __init__(self, every_s: float = REPEAT_S, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s = every_s
        self._clock = clock
        self._said: dict[object, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = self._clock()
        if now - self._said.get(record.msg, -self._every_s) < self._every_s:
            return False
        if len(self._said) > 1000:
            self._said.clear()
        self._said[record.msg] = now
        return True


def faust_app(kafka: Kafka, group: str) -> faust.App:
    """An app of consumer group `group`; it makes no topics, opens no port and writes no files."""
    for name in TALKATIVE:
        logger = logging.getLogger(name)
        if not any(isinstance(each, Seldom) for each in logger.filters):
            logger.addFilter(Seldom())
    return faust.App(
        group,
        broker=[f"kafka://{server.strip()}" for server in kafka.bootstrap_servers.split(",")],
        broker_credentials=credentials(kafka),
        broker_session_timeout=SESSION_TIMEOUT_S,
        broker_heartbeat_interval=HEARTBEAT_S,
        broker_client_id=group,
        consumer_auto_offset_reset="latest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        store="memory://",
        web_enabled=False,
        # Faust makes this folder; nothing of ours goes there.
        datadir=tempfile.gettempdir(),
        worker_redirect_stdouts=False,
    )


def credentials(kafka: Kafka) -> Any:
    """Faust's credentials for the settings; None for a plain connection."""
    context = ssl_context(kafka)
    if kafka.sasl_mechanism == "OAUTHBEARER":
        from streams.oauth import Tokens

        return faust.OAuthCredentials(oauth_cb=Tokens(kafka), ssl_context=context)
    if "SASL" in kafka.security_protocol:
        return faust.SASLCredentials(
            username=kafka.username,
            password=kafka.password.get_secret_value(),
            mechanism=kafka.sasl_mechanism or "PLAIN",
            ssl_context=context,
        )
    return faust.SSLCredentials(context=context) if context is not None else None
