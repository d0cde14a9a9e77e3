"""A letter as a mail: text and HTML from our templates, and the headers that thread it and keep robots quiet. Pure.

Message-ID is the notification's id, so a repeat is recognised as one; In-Reply-To and References name the first mail of
the incident (RFC 5322 section 3.6.4); Auto-Submitted is RFC 3834's, List-Id RFC 2919's.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from functools import cache

import jinja2
import structlog
from markupsafe import escape

from schemas.notifications import Notification
from streams.sinks.letter import Letter, one_line
from streams.sinks.rendered import OwnWords
from streams.sinks.words import words

log = structlog.get_logger(__name__)

DOMAIN = "eventsphere"
MAX_BODY_CHARS = 400_000
_LIST_ID = re.compile(r"[^a-z0-9-]+")
_ADDRESS = re.compile(r'"?([^"<>]*?)"?\s*<([^<>@\s,;]+@[^<>@\s,;]+)>|([^<>@\s,;]+@[^<>@\s,;]+)')
_OURS = frozenset(
    {"from", "to", "cc", "bcc", "date", "message-id", "in-reply-to", "references"}
    | {"list-id", "list-unsubscribe", "auto-submitted"}
    | {"content-type", "content-transfer-encoding", "mime-version", "sender", "return-path", "received"}
)
"""Headers a receiver's configuration may not set; `subject` it may."""


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("streams", "templates"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def message_id(notification_id: str) -> str:
    return f"<{notification_id}@{DOMAIN}>"


def compose(
    notification: Notification,
    letter: Letter,
    sender: str,
    recipient: str,
    headers: dict[str, str] | None = None,
    own: OwnWords | None = None,
    unsubscribe: str = "",
) -> EmailMessage:
    """The mail of `letter` to one recipient, the same bytes each time for the same arguments. `own`: what the receiver
    says in its own words; `unsubscribe`: the URL where a person changes how they are told (RFC 2369)."""
    message = EmailMessage(policy=SMTP)
    message["Subject"] = letter.subject
    message["From"] = _address(sender, "Eventsphere")
    message["To"] = _address(recipient)
    message["Date"] = datetime.fromtimestamp(notification.decided_at_ms / 1000, UTC)
    message["Message-ID"] = message_id(notification.id)
    if notification.thread and notification.thread != notification.id:
        message["In-Reply-To"] = message_id(notification.thread)
        message["References"] = message_id(notification.thread)
    message["List-Id"] = f"<{_label(notification.receiver)}.{_label(notification.tenant)}.{DOMAIN}>"
    if unsubscribe:
        message["List-Unsubscribe"] = f"<{unsubscribe}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Eventsphere-Notification"] = notification.id
    for name, value in (headers or {}).items():
        if name.lower() == "subject":
            message.replace_header("Subject", one_line(value, 500))
        elif name.lower() not in _OURS:
            message[name] = one_line(value, 500)
    text, html = bodies(letter, own)
    message.set_content(text, cte="quoted-printable")
    if html:
        message.add_alternative(html, subtype="html", cte="quoted-printable")
    else:
        message.make_alternative()
    # A boundary of the notification's own instead of a random one: a repeat is the same mail to the byte.
    message.set_boundary(f"=_{notification.id}")
    return message


def bodies(letter: Letter, own: OwnWords | None = None) -> tuple[str, str]:
    """Text and HTML. What cannot be rendered goes out in a plain form that says so: no alert is lost to a template."""
    try:
        text = render("mail.txt", letter)
        html = render("mail.html", letter)
    except Exception as error:
        log.warning("mail.not_rendered", notification=letter.notification, error=type(error).__name__)
        lines = [f"{alert.name} ({alert.state}) since {alert.since} {alert.summary}" for alert in letter.alerts]
        text = "\n".join([letter.subject, "", *lines, "", "(The usual form of this mail could not be rendered.)"])
        html = _plain(text)
    text = _cut(own.text if own and own.text else text)
    html = html if own is None or own.html is None else own.html
    return text, html if len(html) <= MAX_BODY_CHARS else _plain(text)


def render(template: str, letter: Letter) -> str:
    """One of our own templates, in the letter's language."""
    return _templates().get_template(template).render(letter=letter, t=words(letter.language))


def _plain(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_BODY_CHARS else text[:MAX_BODY_CHARS] + "\n[cut]\n"


def _label(text: str) -> str:
    return _LIST_ID.sub("-", text.lower()).strip("-") or "x"


def _address(text: str, name: str = "") -> Address:
    """`a@b` or `Name <a@b>` as an address object. Raises ValueError when it is neither."""
    match = _ADDRESS.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not an address: {text[:100]!r}")
    try:
        return Address(one_line(match[1] or name, 200), addr_spec=match[2] or match[3])
    except (MessageError, IndexError) as error:
        raise ValueError(f"not an address: {text[:100]!r}") from error


def bare_address(text: str) -> str:
    """The address alone, for the SMTP envelope."""
    return _address(text).addr_spec
