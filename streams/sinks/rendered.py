"""A notification in the words of a receiver's own templates. Pure.

What a template cannot render goes out in our own form with a note that says so: no alert is lost to a template.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import structlog

from schemas.alerting import EmailConfig
from schemas.alerts import AlertState, Status
from schemas.notifications import Notification
from streams.gotemplates import TemplateError, data, library
from streams.gotemplates.gotime import ZERO, from_ms
from streams.gotemplates.values import Alert, Data

log = structlog.get_logger(__name__)


class OwnWords(NamedTuple):
    """`text`, `html` None: our own form; empty: that part is left out. `notes`: what could not be rendered, and why."""

    headers: dict[str, str]
    text: str | None
    html: str | None
    notes: list[str]


def own_words(
    config: EmailConfig, notification: Notification, alerts: Sequence[AlertState], external_url: str
) -> OwnWords:
    dot = dot_of(notification, alerts, external_url)
    notes: list[str] = []

    def rendered(field: str, template: str | None, *, html: bool = False) -> str | None:
        if template is None or "{{" not in template:
            return template
        try:
            return library(config.templates).render(template, dot, html=html)
        except TemplateError as error:
            log.warning("template.not_rendered", field=field, receiver=notification.receiver, reason=str(error)[:500])
            notes.append(f"The receiver's own form could not be rendered ({field}: {str(error)[:300]}).")
            return None

    headers = {name: rendered(name, value) for name, value in config.headers.items()}
    return OwnWords(
        headers={name: value for name, value in headers.items() if value is not None},
        text=rendered("text", config.text),
        html=rendered("html", config.html, html=True),
        notes=notes,
    )


def dot_of(notification: Notification, alerts: Sequence[AlertState], external_url: str) -> Data:
    """What templates are given: Alertmanager's data."""
    return data(notification.receiver, map(_alert, alerts), notification.group_labels, external_url)


def _alert(alert: AlertState) -> Alert:
    resolved = alert.state is Status.RESOLVED
    return Alert(
        "resolved" if resolved else "firing",
        alert.labels,
        alert.annotations,
        from_ms(alert.starts_at_ms),
        from_ms(alert.ends_at_ms or alert.updated_at_ms) if resolved else ZERO,
        alert.generator_url,
        alert.fingerprint,
    )
