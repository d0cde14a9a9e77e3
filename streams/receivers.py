"""The receivers of an alertmanager.yml: which channels each has. What we do not serve is refused, with another way.

Secrets may stand in files (`url_file`, `credentials_file`, `password_file`); they are read when the configuration is.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from schemas.alerting import AlertmanagerConfig, AppriseConfig, EmailConfig, Receiver, WebhookConfig
from streams.yaml_nodes import Node

MAX_SECRET_BYTES = 16 << 10
_APPRISE_SCHEMES = {
    "discord": "discord", "msteams": "workflows", "opsgenie": "opsgenie", "pagerduty": "pagerduty",
    "pushover": "pover", "slack": "slack", "sns": "sns", "telegram": "tgram", "victorops": "splunk",
    "webex": "wxteams",
}  # fmt: skip
_SMTP_FIELDS = frozenset(
    {"from", "smarthost", "hello", "auth_username", "auth_password", "auth_password_file", "auth_secret"}
    | {"auth_identity", "require_tls", "tls_config"}
)
_TEMPLATES = frozenset({"html", "text"})


class Files:
    """Reads secrets, relative to the folder of the configuration."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, path: str) -> str:
        """The file's text without the line end. Raises ValueError."""
        try:
            with (self._folder / path).open("rb") as stream:
                raw = stream.read(MAX_SECRET_BYTES + 1)
            text = raw.decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot read {path[:200]!r}: {error}") from None
        if len(raw) > MAX_SECRET_BYTES:
            raise ValueError(f"{path[:200]!r} is larger than {MAX_SECRET_BYTES >> 10} KiB")
        return text.strip("\r\n")


def receivers(node: Node, files: Files) -> list[Receiver]:
    out: list[Receiver] = []
    for item in node.items():
        receiver = _receiver(item, files)
        if any(receiver.name == other.name for other in out):
            item.fail(f"a receiver named {receiver.name!r} exists already")
        out.append(receiver)
    return out


def _receiver(node: Node, files: Files) -> Receiver:
    fields = node.fields()
    name = fields["name"].text() if "name" in fields else ""
    if not name:
        node.fail("a receiver needs a name")
    for kind in fields.keys() - {"name", "email_configs", "webhook_configs", "apprise_configs", "alertmanager_configs"}:
        _refuse_kind(fields[kind], kind)

    def items(kind: str) -> list[Node]:
        return list(fields[kind].items()) if kind in fields else []

    return Receiver(
        name=name,
        email=[_email(item) for item in items("email_configs")],
        webhook=[_webhook(item, files) for item in items("webhook_configs")],
        apprise=[_apprise(item, files) for item in items("apprise_configs")],
        alertmanager=[_alertmanager(item, files) for item in items("alertmanager_configs")],
    )


def _refuse_kind(node: Node, kind: str) -> None:
    service = kind.removesuffix("_configs")
    if service in _APPRISE_SCHEMES:
        node.fail(f"not supported: write `apprise_configs: [{{url: '{_APPRISE_SCHEMES[service]}://...'}}]` instead")
    else:
        node.fail("not supported; there are email_configs, webhook_configs, apprise_configs and alertmanager_configs")


def _known(fields: dict[str, Node], names: set[str]) -> None:
    for name in fields.keys() - names:
        fields[name].fail(f"not supported here; there are: {', '.join(sorted(names))}")


def _email(node: Node) -> EmailConfig:
    fields = node.fields()
    for name in fields.keys() & _SMTP_FIELDS:
        fields.pop(name).fail("mail goes out through EVENTSPHERE_SMTP__URL: set it there")
    for name in fields.keys() & _TEMPLATES:
        fields.pop(name).fail("templates are not supported: mails have Eventsphere's own form")
    _known(fields, {"to", "send_resolved", "headers"})
    to = fields["to"].checked(_addresses, "") if "to" in fields else ""
    if "to" not in fields:
        node.fail("`to` is missing: the addresses, separated by commas")
    headers = {}
    for name, value in fields["headers"].fields().items() if "headers" in fields else ():
        headers[name] = value.checked(_header(name), "")
    return EmailConfig(to=to, send_resolved=_send_resolved(fields, False), headers=headers)


def _addresses(text: str) -> str:
    for part in text.split(","):
        if not re.fullmatch(r"[^@\s<>]+@[^@\s<>]+|[^<>\r\n]*<[^@\s<>]+@[^@\s<>]+>", part.strip()):
            raise ValueError(f"{part.strip()[:100]!r} is not a mail address (templates are not supported)")
    return text


def _header(name: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not re.fullmatch(r"[!-9;-~]+", name) or "\n" in value or "\r" in value:
            raise ValueError("not a mail header")
        return _plain(value)

    return check


def _plain(value: str) -> str:
    if "{{" in value:
        raise ValueError("templates are not supported here")
    return value


def _webhook(node: Node, files: Files) -> WebhookConfig:
    fields = node.fields()
    _known(fields, {"url", "url_file", "send_resolved", "max_alerts", "http_config"})
    return WebhookConfig(
        url=_secret(node, fields, "url", files, _http_url),
        authorization=_authorization(fields, files),
        send_resolved=_send_resolved(fields, True),
        max_alerts=fields["max_alerts"].number() if "max_alerts" in fields else 0,
    )


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
    _known(config, {"authorization", "basic_auth", "bearer_token", "bearer_token_file"})
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
