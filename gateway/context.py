"""What belongs to the request being served: its id and its trace, in context variables, into logs and Kafka headers."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

REQUEST_ID_HEADER = "X-Request-Id"
KAFKA_HEADER = "request_id"
_ACCEPTED = re.compile(r"[A-Za-z0-9._:-]{1,64}")

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Empty outside of a request."""
traceparent: ContextVar[str] = ContextVar("traceparent", default="")
"""The caller's W3C trace context; empty when it sent none."""


def accepted_request_id(offered: str) -> str:
    """The caller's own request id when it is a short plain word, else a new one."""
    return offered if _ACCEPTED.fullmatch(offered) else uuid.uuid4().hex
