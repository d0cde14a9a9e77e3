"""`email_configs` of an alertmanager.yml and the `smtp_` fields of its `global`: what goes to whom, by which server.

A receiver without a smarthost sends through `EVENTSPHERE_SMTP__URL`. Meaning: alertmanager 0.25 config/notifiers.go
EmailConfig, notify/email/email.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from schemas.alerting import EmailConfig
from streams.config_templates import Templates
from streams.files import Files
from streams.sinks.words import LANGUAGES
from streams.yaml_nodes import Node

SMTP_FIELDS = frozenset(
    {"smarthost", "from", "hello", "auth_username", "auth_password", "auth_password_file", "require_tls"}
    | {"auth_secret", "auth_identity", "tls_config"}
)
_UNSUPPORTED = {
    "auth_secret": "CRAM-MD5 is not supported: write auth_username and auth_password",
    "auth_identity": "another identity than auth_username is not supported",
    "tls_config": "not supported: write the server as EVENTSPHERE_SMTP__URL, with ca_file=",
}
IMPLICIT_TLS = 465
_DEFAULT_HTML = "email.default.html"
_DEFAULT_CALL = r'\s*\{\{-?\s*template\s+"email\.default\.html"\s+\.\s*-?\}\}\s*'


def email(node: Node, shared: Mapping[str, Node], files: Files, templates: Templates) -> EmailConfig:
    """`shared`: the `smtp_` fields of `global`, without that prefix."""
    fields = node.known(("to", "send_resolved", "headers", "html", "text", "language", *sorted(SMTP_FIELDS)))
    to = fields["to"].checked(_addresses, "") if "to" in fields else ""
    if "to" not in fields:
        node.fail("`to` is missing: the addresses, separated by commas")
    headers = {}
    for name, value in fields["headers"].fields().items() if "headers" in fields else ():
        if not re.fullmatch(r"[!-9;-~]+", name):
            value.fail("not a mail header")
        headers[name] = templates.field(value)
    if not any(name.lower() == "subject" for name in headers) and templates.has("email.default.subject"):
        headers["Subject"] = '{{ template "email.default.subject" . }}'
    return EmailConfig(
        to=to,
        send_resolved="send_resolved" in fields and fields["send_resolved"].flag(),
        headers=headers,
        html=_html(fields.get("html"), templates),
        text=templates.field(fields["text"]) if "text" in fields else None,
        server=server({**shared, **{name: fields[name] for name in SMTP_FIELDS & fields.keys()}}, files),
        templates=templates.files,
        language=fields["language"].checked(_language, "en") if "language" in fields else "en",
    )


def _language(text: str) -> str:
    if text not in LANGUAGES:
        raise ValueError(f"expected one of {', '.join(LANGUAGES)}")
    return text


def _html(node: Node | None, templates: Templates) -> str | None:
    """None: what Alertmanager has by default, which is our own form unless a file defines it."""
    if node is None or re.fullmatch(_DEFAULT_CALL, node.text()):
        if not templates.has(_DEFAULT_HTML):
            return None
        return templates.checked(node, f'{{{{ template "{_DEFAULT_HTML}" . }}}}', html=True)
    return templates.field(node, html=True)


def _addresses(text: str) -> str:
    if "{{" in text:
        raise ValueError("templates are not supported here: who is told is known before the alerts are")
    for part in text.split(","):
        if not re.fullmatch(r"[^@\s<>]+@[^@\s<>]+|[^<>\r\n]*<[^@\s<>]+@[^@\s<>]+>", part.strip()):
            raise ValueError(f"{part.strip()[:100]!r} is not a mail address")
    return text


def server(fields: Mapping[str, Node], files: Files) -> str:
    """The URL of an SMTP server, with its secrets, as streams/sinks/smtp.py reads it; empty: none is named."""
    for name in _UNSUPPORTED.keys() & fields.keys():
        if not fields[name].is_null and getattr(fields[name].node, "value", None):
            fields[name].fail(_UNSUPPORTED[name])
    if "smarthost" not in fields:
        return ""
    host, port = fields["smarthost"].checked(_host_port, ("localhost", 25))
    user = fields["auth_username"].text() if "auth_username" in fields else ""
    password = fields["auth_password"].text() if "auth_password" in fields else ""
    if "auth_password_file" in fields:
        password = fields["auth_password_file"].checked(files.read, "")
    sender = fields["from"].text() if "from" in fields else ""
    if "@" not in sender:
        (fields.get("from") or fields["smarthost"]).fail("expected smtp_from or from: the sender's address")
    secure = fields["require_tls"].flag() if "require_tls" in fields else True
    scheme = "smtps" if port == IMPLICIT_TLS else "smtp+starttls" if secure else "smtp"
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user else ""
    hello = f"&hello={quote(fields['hello'].text(), safe='')}" if "hello" in fields else ""
    return f"{scheme}://{login}{host}:{port}?from={quote(sender, safe='@')}{hello}"


def _host_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"[\w.-]+|\[[0-9a-fA-F:]+\]", host) or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"expected host:port, not {text[:100]!r}")
    return host, int(port)
