"""Proofs that a webhook comes from whom it says, over the raw bytes, compared in constant time. Pure.

- GitHub: `X-Hub-Signature-256: sha256=<hex HMAC-SHA256 of the body>`
  (docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries).
- Standard Webhooks, which GitLab signs by: `webhook-id`, `webhook-timestamp` (seconds), `webhook-signature`, one or
  more `v1,<base64 HMAC-SHA256 of id.timestamp.body>` separated by spaces; the secret is `whsec_<base64 key>`
  (github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md).
- GitLab's older way: the secret itself in `X-Gitlab-Token` (docs.gitlab.com/user/project/integrations/webhooks).

Each returns why it does not hold, or an empty text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

TOLERANCE_S = 300
PREFIX = "whsec_"
MAX_SIGNATURES = 10


def github(headers: Mapping[str, str], body: bytes, secret: str) -> str:
    given = headers.get("x-hub-signature-256", "")
    if not given:
        return "X-Hub-Signature-256 is missing"
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return "" if _same(given, expected) else "X-Hub-Signature-256 does not match"


def gitlab(headers: Mapping[str, str], body: bytes, secret: str, now_s: float) -> str:
    """By signature when there is one or the secret is a signing key, else by token."""
    if "webhook-signature" in headers or secret.startswith(PREFIX):
        return standard(headers, body, secret, now_s)
    given = headers.get("x-gitlab-token", "")
    if not given:
        return "X-Gitlab-Token is missing"
    return "" if _same(given, secret) else "X-Gitlab-Token does not match"


def standard(headers: Mapping[str, str], body: bytes, secret: str, now_s: float) -> str:
    identity, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    given = headers.get("webhook-signature", "").split()[:MAX_SIGNATURES]
    if not (identity and timestamp and given):
        return "webhook-id, webhook-timestamp or webhook-signature is missing"
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return "webhook-timestamp is not a number of seconds"
    signed = identity.encode() + b"." + timestamp.encode() + b"." + body
    digest = hmac.new(signing_key(secret), signed, hashlib.sha256).digest()
    expected = "v1," + base64.b64encode(digest).decode()
    if not any([_same(each, expected) for each in given]):  # noqa: C419 - all of them, whichever matches
        return "webhook-signature does not match"
    # After the signature: who cannot sign learns nothing of our clock.
    if abs(now_s - int(timestamp)) > TOLERANCE_S:
        return f"webhook-timestamp is more than {TOLERANCE_S} s from now"
    return ""


def signing_key(secret: str) -> bytes:
    """The key in a `whsec_` secret; any other secret is the key itself."""
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        return secret.encode()


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())
