"""Alertmanager's configuration as we hold it: route tree, receivers and their channels, inhibit rules.

`streams/alerting.py` reads it from an alertmanager.yml. Everything a route inherits is already filled in here, secrets
from files are already read, and every name has been checked. Secret fields never show in `repr`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.alerts import AlertState, Matcher, Status
from schemas.base import Event
from schemas.intervals import TimeInterval
from schemas.notifications import Notification, Timing
from schemas.policies import Policies

MAILBOX = "mailbox"
"""Receiver of the default configuration: the local mailbox."""
SECRETS = frozenset({"url", "authorization", "server", "secret", "signing_secrets"})
"""Fields of channels that never show."""
ALL_LABELS = "..."
"""`group_by: ['...']`: every distinct label set is a group of its own."""


class Channel(Event, frozen=True, kw_only=True):
    """One way a receiver is reached. `send_resolved`: whether it also hears that alerts resolved."""

    send_resolved: bool = True

    def __rich_repr__(self) -> Any:
        """What `repr` and tracebacks show: everything but secrets (an URL may hold a token)."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            yield name, "<secret>" if value and name in SECRETS else value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


class EmailConfig(Channel, frozen=True, kw_only=True):
    """Mail. `to`: comma separated addresses, as Alertmanager writes it.

    Headers, `html` and `text` are Go templates (`streams/gotemplates`); None: our own form. `server`: the URL of the
    SMTP server it goes through, empty: that of `settings.smtp`. `templates`: name and text of the files they may call.
    """

    to: str
    send_resolved: bool = False
    headers: dict[str, str] = {}
    html: str | None = None
    text: str | None = None
    server: str = ""
    templates: tuple[tuple[str, str], ...] = ()
    language: str = "en"
    """Of our own words, `en` or `zh`."""

    @property
    def addresses(self) -> list[str]:
        return [part for part in (piece.strip() for piece in self.to.split(",")) if part]


class WebhookConfig(Channel, frozen=True, kw_only=True):
    """Alertmanager's webhook v4. `authorization`: the whole header value (`Bearer ...`, `Basic ...`), or empty.

    `max_alerts` 0: all of them; else the rest is counted in `truncatedAlerts`. `format`: `alertmanager` or
    `cloudevents` (one event, structured mode). `signing_secrets`: `whsec_...`; each signs, so that a
    receiver may know either while one replaces the other (Standard Webhooks).
    """

    url: str
    authorization: str = ""
    max_alerts: int = 0
    format: str = "alertmanager"
    signing_secrets: list[str] = []


class AppriseConfig(Channel, frozen=True, kw_only=True):
    """Any of Apprise's services, by its URL. Ours: Alertmanager has no such receiver."""

    url: str


class AlertmanagerConfig(Channel, frozen=True, kw_only=True):
    """An existing Alertmanager our alerts are handed to, re-sent until resolved. `url`: its base URL. Ours."""

    url: str
    authorization: str = ""


class PeopleConfig(Channel, frozen=True, kw_only=True):
    """Mail to everybody of the alerts' tenant who wants to be told in person (topic `people`). Ours."""


class Other(Event, frozen=True, kw_only=True):
    """A channel of a further kind (`streams/sinks/kinds.py`), with the kind's own configuration."""

    kind: str
    config: Channel


class Receiver(Event, frozen=True, kw_only=True):
    """A named set of channels. One without any is allowed: what it gets is decided, recorded and not sent."""

    name: str
    email: list[EmailConfig] = []
    webhook: list[WebhookConfig] = []
    apprise: list[AppriseConfig] = []
    alertmanager: list[AlertmanagerConfig] = []
    others: list[Other] = []
    people: list[PeopleConfig] = []

    @property
    def channels(self) -> list[Channel]:
        others = [each.config for each in self.others]
        return [*self.email, *self.webhook, *self.apprise, *self.alertmanager, *others, *self.people]

    @property
    def send_resolved(self) -> bool:
        """Whether anything of it hears of resolved alerts."""
        return any(channel.send_resolved for channel in self.channels)


class Route(Event, frozen=True, kw_only=True):
    """A node of the route tree, inherited settings filled in. Its own matchers only; the root has none.

    `key` is Alertmanager's route key: the matchers from the root down, as `{}/{severity="page"}`.
    """

    receiver: str
    key: str = "{}"
    matchers: list[Matcher] = []
    group_by: list[str] = []
    """Names of labels, sorted; `["..."]` for all."""
    timing: Timing = Timing()
    continue_: bool = msgspec.field(default=False, name="continue")
    mute_time_intervals: list[str] = []
    """Names of intervals in which nothing is told. Not inherited."""
    active_time_intervals: list[str] = []
    """Names of intervals outside of which nothing is told, if there are any. Not inherited."""
    routes: list[Route] = []


class InhibitRule(Event, frozen=True, kw_only=True):
    """While an alert matching `source` fires, those matching `target` with the same `equal` labels are not notified."""

    source: list[Matcher]
    target: list[Matcher]
    equal: list[str] = []


class AlertingConfig(Event, frozen=True, kw_only=True):
    """A whole configuration. `original`: its text as `/api/v2/status` shows it, without secrets."""

    route: Route
    receivers: list[Receiver]
    inhibit_rules: list[InhibitRule] = []
    time_intervals: list[TimeInterval] = []
    resolve_timeout_ms: int = 300_000
    original: str = ""
    policies: Policies = Policies()

    def receiver(self, name: str) -> Receiver | None:
        return next((each for each in self.receivers if each.name == name), None)


class Reason:
    """`Notification.reason` of a decision to send (Alertmanager's cases of `needsUpdate`)."""

    FIRST = "first"
    NEW_ALERTS = "new_alerts"
    SOME_RESOLVED = "some_resolved"
    ALL_RESOLVED = "all_resolved"
    REPEAT = "repeat"
    DIGEST = "digest"
    """A digest is due."""
    ESCALATED = "escalated"
    """Nobody took it on in time."""


def alerts_for(notification: Notification, channel: Channel) -> list[AlertState]:
    """The alerts of `notification` this channel is told about; none: nothing is sent over it.

    A channel without `send_resolved` hears of firing alerts only, and not when all that happened is that some resolved.
    """
    if channel.send_resolved:
        return notification.alerts
    if notification.reason in (Reason.SOME_RESOLVED, Reason.ALL_RESOLVED):
        return []
    return [alert for alert in notification.alerts if alert.state is not Status.RESOLVED]
