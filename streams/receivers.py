"""The receivers of an alertmanager.yml: which channels each has. What we do not serve is refused, with another way.

Secrets may stand in files (`url_file`, `credentials_file`, `password_file`); they are read when the configuration is.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from schemas.alerting import AlertmanagerConfig, AppriseConfig, PeopleConfig, Receiver, WebhookConfig
from streams import receiver_kinds
from streams.config_templates import Templates
from streams.files import Files
from streams.receiver_mail import email
from streams.yaml_nodes import Node

_APPRISE_SCHEMES = {
    "discord": "discord", "msteams": "workflows", "opsgenie": "opsgenie", "pagerduty": "pagerduty",
    "pushover": "pover", "slack": "slack", "sns": "sns", "telegram": "tgram", "victorops": "splunk",
    "webex": "wxteams",
}  # fmt: skip
_OUR_WEBHOOK = frozenset({"format", "signing_secrets", "signing_secret_files"})

_HTTP = frozenset({"follow_redirects", "enable_http2"})
"""Fields of an `http_config` that change nothing here."""


class Shared(NamedTuple):
    """What receivers take from the rest of the configuration. `smtp`, `slack`: fields of `global`, without prefix."""

    files: Files
    templates: Templates
    smtp: Mapping[str, Node]
    slack: Mapping[str, Node]


def receivers(node: Node, shared: Shared) -> list[Receiver]:
    out: list[Receiver] = []
    for item in node.items():
        receiver = _receiver(item, shared)
        if any(receiver.name == other.name for other in out):
            item.fail(f"a receiver named {receiver.name!r} exists already")
        out.append(receiver)
    return out


def _receiver(node: Node, shared: Shared) -> Receiver:
    fields = node.fields()
    name = fields["name"].text() if "name" in fields else ""
    if not name:
        node.fail("a receiver needs a name")
    others = receiver_kinds.others(fields, shared.files, shared.templates, shared.slack)
    for kind in fields.keys() - {
        "name",
        "email_configs",
        "webhook_configs",
        "apprise_configs",
        "alertmanager_configs",
        "people_configs",
    }:
        _refuse_kind(fields[kind], kind)

    def items(kind: str) -> list[Node]:
        return list(fields[kind].items()) if kind in fields else []

    return Receiver(
        name=name,
        email=[email(item, shared.smtp, shared.files, shared.templates) for item in items("email_configs")],
        webhook=[_webhook(item, shared.files) for item in items("webhook_configs")],
        apprise=[_apprise(item, shared.files) for item in items("apprise_configs")],
        alertmanager=[_alertmanager(item, shared.files) for item in items("alertmanager_configs")],
        others=others,
        people=[PeopleConfig(send_resolved=_send_resolved(_knows(item), True)) for item in items("people_configs")],
    )


def _refuse_kind(node: Node, kind: str) -> None:
    service = kind.removesuffix("_configs")
    if service in _APPRISE_SCHEMES:
        node.fail(f"not supported: write `apprise_configs: [{{url: '{_APPRISE_SCHEMES[service]}://...'}}]` instead")
    elif service == "wechat":
        node.fail("not supported: write `wecom_configs: [{url: ...}]`, the webhook of a group's robot, instead")
    else:
        node.fail("not supported; there are email_configs, webhook_configs, apprise_configs and alertmanager_configs")


def _known(fields: dict[str, Node], names: set[str]) -> None:
    for name in fields.keys() - names:
        fields[name].fail(f"not supported here; there are: {', '.join(sorted(names))}")


def _plain(value: str) -> str:
    if "{{" in value:
        raise ValueError("templates are not supported here")
    return value


def _knows(node: Node) -> dict[str, Node]:
    fields = node.fields()
    _known(fields, {"send_resolved"})
    return fields


def _webhook(node: Node, files: Files) -> WebhookConfig:
    fields = node.fields()
    _known(fields, {"url", "url_file", "send_resolved", "max_alerts", "http_config", *_OUR_WEBHOOK})
    return WebhookConfig(
        url=_secret(node, fields, "url", files, _http_url),
        authorization=_authorization(fields, files),
        send_resolved=_send_resolved(fields, True),
        max_alerts=fields["max_alerts"].number() if "max_alerts" in fields else 0,
        format=fields["format"].checked(_webhook_format, "") if "format" in fields else "alertmanager",
        signing_secrets=_signing_secrets(fields, files),
    )


def _webhook_format(text: str) -> str:
    if text not in ("alertmanager", "cloudevents"):
        raise ValueError("expected alertmanager or cloudevents")
    return text


def _signing_secrets(fields: dict[str, Node], files: Files) -> list[str]:
    given = [item.checked(_signing_secret, "") for item in _items(fields, "signing_secrets")]
    read = [
        item.checked(lambda path: _signing_secret(files.read(path)), "")
        for item in _items(fields, "signing_secret_files")
    ]
    return given + read


def _items(fields: dict[str, Node], name: str) -> list[Node]:
    return list(fields[name].items()) if name in fields else []


def _signing_secret(text: str) -> str:
    """Source: github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md: 24 to 64 random bytes."""
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True) if text.startswith("whsec_") else b""
    except binascii.Error:
        key = b""
    if not 24 <= len(key) <= 64:
        raise ValueError("expected whsec_ and the base64 of 24 to 64 bytes")
    return text


def _alertmanager(node: Node, files: Files) -> AlertmanagerConfig:
    fields = node.fields()
    _known(fields, {"url", "url_file", "send_resolved", "http_config"})
    return AlertmanagerConfig(
        url=_secret(node, fields, "url", files, _http_url),
        authorization=_authorization(fields, files),
        send_resolved=_send_resolved(fields, True),
    )


def _apprise(node: Node, files: Files) -> AppriseConfig:
    fields = node.fields()
    _known(fields, {"url", "url_file", "send_resolved"})
    return AppriseConfig(url=_secret(node, fields, "url", files, _any_url), send_resolved=_send_resolved(fields, True))


def _send_resolved(fields: dict[str, Node], default: bool) -> bool:
    return fields["send_resolved"].flag() if "send_resolved" in fields else default


def _secret(node: Node, fields: dict[str, Node], name: str, files: Files, check: Callable[[str], str]) -> str:
    """A field's text, or that of the file `<name>_file` names; exactly one of the two must be given."""
    given = [fields[each] for each in (name, f"{name}_file") if each in fields]
    if len(given) != 1:
        node.fail(f"expected {name} or {name}_file" + (", not both" if given else ""))
        return ""
    if name in fields:
        return given[0].checked(check, "")
    return given[0].checked(lambda path: check(files.read(path)), "")


def _http_url(url: str) -> str:
    """Complaints never repeat the URL: it may hold a token."""
    try:
        parts = urlsplit(_plain(url))
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError as error:
        raise ValueError(f"not a URL: {error}" if "{{" in url else "not a URL") from None
    if not sound:
        raise ValueError("expected an http or https URL")
    return url


def _any_url(url: str) -> str:
    if not re.match(r"[a-z0-9+.-]+://\S", url):
        raise ValueError("expected one of Apprise's URLs, such as slack://...")
    return url


def _authorization(fields: dict[str, Node], files: Files) -> str:
    """The value of the Authorization header an `http_config` asks for, or an empty text."""
    if "http_config" not in fields:
        return ""
    node = fields["http_config"]
    config = node.fields()
    _known(config, {"authorization", "basic_auth", "bearer_token", "bearer_token_file"} | {*_HTTP})
    for name in _HTTP & config.keys():
        if config[name].flag() and name == "follow_redirects":
            config[name].fail("redirects are not followed: write where they lead")
    found = []
    if "authorization" in config:
        inner = config["authorization"].fields()
        _known(inner, {"type", "credentials", "credentials_file"})
        kind = inner["type"].text() if "type" in inner else "Bearer"
        found.append(f"{kind} {_secret(config['authorization'], inner, 'credentials', files, _one_line)}")
    if "basic_auth" in config:
        inner = config["basic_auth"].fields()
        _known(inner, {"username", "password", "password_file"})
        user = inner["username"].text() if "username" in inner else ""
        pair = f"{user}:{_secret(config['basic_auth'], inner, 'password', files, _one_line)}"
        found.append("Basic " + base64.b64encode(pair.encode()).decode())
    if "bearer_token" in config or "bearer_token_file" in config:
        found.append(f"Bearer {_secret(node, config, 'bearer_token', files, _one_line)}")
    if len(found) > 1:
        node.fail("at most one of authorization, basic_auth and bearer_token")
    return found[0] if found else ""


def _one_line(value: str) -> str:
    if not value or not value.isprintable():
        raise ValueError("expected one line of printable text")
    return value
