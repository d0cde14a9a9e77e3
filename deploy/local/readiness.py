"""Asks the parts of an instance whether they are ready, and what they wait for."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping

MAX_ANSWER = 64 << 10


def waits_for(urls: Mapping[str, str]) -> str:
    """The parts that are not ready, each with why in its own words; empty when all are. `urls`: `/readyz` by part."""
    return "; ".join(filter(None, (_unready(name, url) for name, url in urls.items())))


def _unready(name: str, url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310  # loopback, http
            return "" if reply.status == 200 else f"{name} answers {reply.status}"
    except urllib.error.HTTPError as error:
        return f"{name}: {_told(error.read(MAX_ANSWER)) or error.code}"
    except OSError:
        return f"{name} does not answer yet"


def _told(body: bytes) -> str:
    """The gateway says it in `detail` (problem+json), the others list in `waiting` what they wait for."""
    try:
        answer = json.loads(body)
        return str(answer.get("detail") or ", ".join(answer.get("waiting", [])))
    except (ValueError, AttributeError, TypeError):
        return ""
