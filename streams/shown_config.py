"""An alertmanager.yml as `/api/v2/status` shows it: secrets hidden, and in a form amtool 0.25 reads back.

amtool checks it as Alertmanager would: mail needs a smarthost, and receivers it does not know are left out.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

HIDDEN = "<secret>"
NOTE = "# As loaded. Secrets are hidden; what is Eventsphere's own (apprise_configs, slack_configs, ...) is left out.\n"
_THEIRS = frozenset({"name", "email_configs", "webhook_configs"})
_OUR_WEBHOOK = ("format", "signing_secrets", "signing_secret_files")
_SECRETS = frozenset(
    {"credentials", "password", "bearer_token", "auth_password", "smtp_auth_password", "slack_api_url"}
)


def shown(text: str, smtp_url: str) -> str:
    """`smtp_url`: of our settings; its host and sender are shown where Alertmanager has global ones."""
    data = yaml.safe_load(text)
    for receiver in data.get("receivers") or ():
        for kind in receiver.keys() - _THEIRS:
            del receiver[kind]
        _hide(receiver)
        for webhook in receiver.get("webhook_configs") or ():
            for ours in _OUR_WEBHOOK:
                webhook.pop(ours, None)
            if "url_file" in webhook:
                del webhook["url_file"]
                webhook["url"] = f"http://{HIDDEN.strip('<>')}/"
            else:
                webhook["url"] = _public_url(webhook["url"])
    _hide(data.get("global"))
    if any(receiver.get("email_configs") for receiver in data.get("receivers") or ()):
        data["global"] = _smtp(smtp_url) | (data.get("global") or {})
    return NOTE + yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=False)


def _hide(value: Any) -> None:
    """Replace secrets within `value`, in place."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in _SECRETS:
                value[key] = HIDDEN
            else:
                _hide(inner)
    elif isinstance(value, list):
        for inner in value:
            _hide(inner)


def _public_url(url: str) -> str:
    """Scheme, host and port: what follows may hold a token."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    rest = parts.path.strip("/") or parts.query
    return f"{parts.scheme}://{host}/{HIDDEN if rest else ''}"


def _smtp(url: str) -> dict[str, str]:
    parts = urlsplit(url or "smtp://localhost:1025")
    sender = parse_qs(parts.query).get("from", ["eventsphere@localhost"])[0]
    return {"smtp_smarthost": f"{parts.hostname or 'localhost'}:{parts.port or 25}", "smtp_from": sender}
