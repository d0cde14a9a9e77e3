"""The topics' schemas to a Confluent-compatible schema registry, subject `<topic>-value`, as JSON Schema.

Source: Confluent Schema Registry API, `POST /subjects/{subject}/versions`; what is there already gets its id again.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote

from schemas.catalogue import declared
from schemas.jsonschema import schema
from streams.errors import Fatal, Retryable

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
TIMEOUT_S = 20.0
MAX_BYTES = 1 << 20


class Registered(NamedTuple):
    subject: str
    id: int


def publish(url: str, username: str = "", password: str = "") -> Iterator[Registered]:
    """Register the schema of each public topic. Raises Retryable while the registry is away, Fatal with its reason when
    it refuses one (409: not compatible with what it holds)."""
    for name, topic in declared().items():
        if topic.public:
            subject = f"{name}-value"
            body = {"schemaType": "JSON", "schema": json.dumps(schema(topic), separators=(",", ":"))}
            answer = _post(f"{url.rstrip('/')}/subjects/{quote(subject, safe='')}/versions", body, username, password)
            yield Registered(subject, answer)


def _post(url: str, body: object, username: str, password: str) -> int:
    headers = {"Content-Type": MEDIA_TYPE, "Accept": MEDIA_TYPE}
    if username:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:  # noqa: S310 - the address is the operator's
            return int(json.loads(reply.read(MAX_BYTES))["id"])
    except urllib.error.HTTPError as error:
        told = error.read(MAX_BYTES).decode("utf-8", "replace")[:500]
        if error.code >= 500 or error.code == 429:
            raise Retryable("registry_away", f"{url} answers {error.code}: {told}") from None
        raise Fatal("registry_refused", f"{url} answers {error.code}: {told}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Retryable("registry_away", f"{url}: {error}") from error
