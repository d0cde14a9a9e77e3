"""The demo's HTTP client: bearer token, JSON, and patience while processes it needs are being killed."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from schemas.base import rfc3339

PATIENCE_S = 120.0
AGAIN_S = 0.3
TIMEOUT_S = 20.0


class Refused(Exception):
    """The API said no for good; the text is its problem document's."""


class Api:
    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self._token = token

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        return self._until_answered("GET", f"{path}?{urllib.parse.urlencode(query)}")

    def post(self, path: str, body: object, **headers: str) -> dict[str, Any]:
        return self._until_answered("POST", path, json.dumps(body).encode(), headers)

    def publish(self, topic: str, record: dict[str, Any], *, type_: str) -> None:
        """One CloudEvent in binary mode; the same record again is the same event."""
        headers = {"ce-specversion": "1.0", "ce-id": record["id"], "ce-source": "eventsphere-demo", "ce-type": type_}
        headers |= {"ce-time": rfc3339(record["time_ms"]), "Idempotency-Key": record["id"]}
        self.post(f"/api/v1/topics/{topic}/events", record, **headers)

    def _until_answered(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        sent = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"} | (headers or {})
        deadline = time.monotonic() + PATIENCE_S
        while True:
            request = urllib.request.Request(self.url + path, body, sent, method=method)  # noqa: S310  # our gateway
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:  # noqa: S310
                    raw = reply.read()
                    return json.loads(raw) if raw.strip() else {}
            except urllib.error.HTTPError as error:
                if error.code not in (429, 500, 502, 503, 504) or time.monotonic() > deadline:
                    raise Refused(
                        f"{method} {path}: {error.code}: {error.read(2000).decode('utf-8', 'replace')}"
                    ) from None
            except OSError as error:
                if time.monotonic() > deadline:
                    raise Refused(f"{method} {path}: {error}") from None
            time.sleep(AGAIN_S)
