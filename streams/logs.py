"""Logging of every process: one JSON object a line on stderr, and the same record into the platform's own pipeline.

The second way is a stock `fluent-logger` sender to our own forward port. It can never feed on itself or hold a process
up: bounded queue (oldest dropped), a rate limit, and whatever goes wrong on it is counted, never logged.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog
from fluent.asyncsender import FluentSender

from streams.metrics import OWN_ERRORS
from streams.settings import Settings

TAG = "eventsphere"
"""Tag of our own records; a record with this tag is never the subject of another log record."""
NAMESPACE = "eventsphere"
QUEUE = 1000
BUFFER_BYTES = 1 << 20
RATE_PER_S = 50.0
BURST = 500.0
QUIET = ("aiokafka", "faust", "mode", "kafka", "elastic_transport", "alembic", "apprise", "asyncio", "mail.log")
"""Libraries that only speak from WARNING on."""

Processor = Callable[[Any, str, MutableMapping[str, Any]], Any]


class Rate:
    """A token bucket: `take(now_s)` says whether one more record may go. Pure but for its own state."""

    def __init__(self, per_s: float = RATE_PER_S, burst: float = BURST) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens = burst
        self._at = 0.0

    def take(self, now_s: float) -> bool:
        self._tokens = min(self._burst, self._tokens + max(0.0, now_s - self._at) * self._per_s)
        self._at = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class OwnPipeline(logging.Handler):
    """Sends rendered lines to our forward port as container logs of namespace `eventsphere`."""

    def __init__(self, process: str, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._process = process
        self._cluster = settings.cluster.name or "local"
        self._clock = clock
        self._rate = Rate()
        self._sender = FluentSender(
            TAG,
            host=settings.forward.host,
            port=settings.forward.port,
            bufmax=BUFFER_BYTES,
            timeout=1.0,
            nanosecond_precision=True,
            queue_maxsize=QUEUE,
            queue_circular=True,
            queue_overflow_handler=lambda _dropped: OWN_ERRORS.labels("queue_full").inc(),
            buffer_overflow_handler=lambda _dropped: OWN_ERRORS.labels("buffer_full").inc(),
        )

    def emit(self, record: logging.LogRecord) -> None:
        now = self._clock()
        if not self._rate.take(now):
            OWN_ERRORS.labels("rate_limited").inc()
            return
        try:
            body = own_record(self._process, self._cluster, record.levelname.lower(), self.format(record))
            self._sender.emit_with_time(self._process, now, body)
        except Exception:  # a log line must never break what it tells about
            OWN_ERRORS.labels("not_sent").inc()

    def close(self) -> None:
        self._sender.close(flush=False)
        super().close()


def own_record(process: str, cluster: str, level: str, line: str) -> dict[str, Any]:
    """Our own log line in the form Fluent Bit gives container logs."""
    where = {"namespace_name": NAMESPACE, "pod_name": process, "container_name": process}
    return {"log": line, "level": level, "stream": "stderr", "cluster": cluster, "kubernetes": where}


def configure(settings: Settings, process: str, *, level: int = logging.INFO) -> None:
    """Send structlog's and the libraries' records to stderr and, unless switched off, into our own pipeline.

    A forward port that asks for a shared key or client certificate is not fed: the stock sender has neither.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(sort_keys=False, default=str),
        ],
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    forward = settings.forward
    if settings.self_logging and not forward.shared_key.get_secret_value() and not forward.certificate_file:
        handlers.append(OwnPipeline(process, settings))
    for handler in handlers:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
