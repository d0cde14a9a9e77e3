"""Alerts in the words of Alertmanager's API v2 and of its webhook: taken in, and given out. Pure.

Forms: alertmanager 0.25 api/v2/openapi.yaml; webhook: prometheus.io/docs/alerting/latest/configuration/#webhook_config.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from schemas.alerting import AlertingConfig
from schemas.alerts import FUTURE_MS, Alert, AlertState, Matcher, Silence, Status, alert_key, fingerprint
from schemas.base import LAST_MS, UNREADABLE, digest, encode, parse_time, rfc3339
from schemas.headers import cloud_headers
from streams.matching import is_label_name, matches
from streams.muting import Inhibitor, active, silenced_by
from streams.record import Outgoing
from streams.routing import destinations

TOPIC = "alerts"
MAX_ALERTS = 10_000
MAX_LABELS = 128
MAX_VALUE = 4096
MAX_ANNOTATION = 32 << 10
MAX_TEXT = 256 << 10
"""All labels and annotations of one alert together, in characters."""


class Postable(msgspec.Struct):
    """One alert as Prometheus posts it; in a webhook it has a `status` too."""

    labels: dict[str, str]
    annotations: dict[str, str] | None = None
    startsAt: str | None = None  # noqa: N815 - the API's name
    endsAt: str | None = None  # noqa: N815
    generatorURL: str | None = None  # noqa: N815
    status: str = ""


class Webhook(msgspec.Struct):
    alerts: list[Postable]


class Poster(NamedTuple):
    """Who posts, and when; `source` as in `schemas.alerts.Alert`."""

    tenant: str
    cluster: str
    source: str
    now_ms: int
    resolve_timeout_ms: int


_alerts = msgspec.json.Decoder(list[Postable])
_webhook = msgspec.json.Decoder(Webhook)


def posted(body: bytes, poster: Poster) -> tuple[list[Alert], list[str]]:
    """The valid alerts of a `POST /api/v2/alerts`, and what is wrong with the others: `[index].field: reason`.

    Raises ValueError when the body as a whole is not a list of alerts.
    """
    items = _bounded(_decoded(_alerts, body))
    out, wrong = [], []
    for index, item in enumerate(items):
        try:
            starts, ends = _times(item, poster)
            out.append(_alert(item, starts, ends, poster))
        except ValueError as error:
            wrong.append(f"[{index}].{error}")
    return out, wrong


def hooked(body: bytes, poster: Poster) -> tuple[list[Alert], list[str]]:
    """The same for Alertmanager's webhook. What fires does so until it is said to be resolved: nothing refreshes it."""
    items = _bounded(_decoded(_webhook, body).alerts)
    out, wrong = [], []
    for index, item in enumerate(items):
        try:
            if item.status not in ("firing", "resolved"):
                raise ValueError("status: expected firing or resolved")
            starts = min(_time("startsAt", item.startsAt) or poster.now_ms, poster.now_ms)
            ended = min(_time("endsAt", item.endsAt) or poster.now_ms, poster.now_ms)
            ends = max(starts, ended) if item.status == "resolved" else 0
            out.append(_alert(item, starts, ends, poster))
        except ValueError as error:
            wrong.append(f"alerts[{index}].{error}")
    return out, wrong


def outgoing(alert: Alert) -> Outgoing:
    key = alert_key(alert.tenant, alert.fingerprint)
    headers = cloud_headers(
        topic=TOPIC,
        id=digest(key, str(alert.starts_at_ms), str(alert.ends_at_ms), str(alert.observed_at_ms), alert.source),
        type="alert.observed",
        source=f"eventsphere/{alert.source}",
        time_ms=alert.observed_at_ms,
        subject=key,
    )
    return Outgoing(TOPIC, encode(alert), key.encode(), headers, alert.observed_at_ms)


def _decoded(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except UNREADABLE as error:
        raise ValueError(f"not what was expected: {error}") from None


def _bounded(items: list[Postable]) -> list[Postable]:
    if len(items) > MAX_ALERTS:
        raise ValueError(f"alerts: {len(items)} at once, at most {MAX_ALERTS} are taken; none of these was")
    return items


def _time(field: str, text: str | None) -> int:
    """0: not given (Go's zero time counts as that). Later than can be written (by its offset): the last that can."""
    try:
        return min(max(0, parse_time(text)), LAST_MS) if text else 0
    except (ValueError, OverflowError):
        raise ValueError(f"{field}: not an RFC 3339 time: {str(text)[:64]!r}") from None


def _times(item: Postable, poster: Poster) -> tuple[int, int]:
    starts, ends = _time("startsAt", item.startsAt), _time("endsAt", item.endsAt)
    starts = starts or (min(ends, poster.now_ms) if ends else poster.now_ms)
    if starts > poster.now_ms + FUTURE_MS:
        raise ValueError("startsAt: is more than an hour ahead; check the sender's clock")
    ends = ends or max(starts, poster.now_ms) + poster.resolve_timeout_ms
    if ends < starts:
        raise ValueError("endsAt: start time must be before end time")
    return starts, ends


def _alert(item: Postable, starts_ms: int, ends_ms: int, poster: Poster) -> Alert:
    labels = {name: value for name, value in sorted(item.labels.items()) if value}
    annotations = item.annotations or {}
    if not labels:
        raise ValueError("labels: at least one label pair required")
    for field, pairs, limit in (("labels", labels, MAX_VALUE), ("annotations", annotations, MAX_ANNOTATION)):
        if len(pairs) > MAX_LABELS:
            raise ValueError(f"{field}: {len(pairs)} of them, at most {MAX_LABELS} are allowed")
        for name, value in pairs.items():
            if not is_label_name(name) or len(name) > MAX_VALUE:
                raise ValueError(f"{field}: invalid name {name[:100]!r}")
            if len(value) > limit:
                raise ValueError(f"{field}.{name[:100]}: longer than {limit} characters")
    if sum(len(name) + len(value) for pairs in (labels, annotations) for name, value in pairs.items()) > MAX_TEXT:
        raise ValueError(f"labels: with annotations longer than {MAX_TEXT >> 10} Ki characters")
    return Alert(
        labels=labels,
        annotations=annotations,
        starts_at_ms=starts_ms,
        ends_at_ms=ends_ms,
        observed_at_ms=poster.now_ms,
        generator_url=(item.generatorURL or "")[:MAX_VALUE],
        tenant=poster.tenant,
        cluster=labels.get("cluster", poster.cluster),
        fingerprint=fingerprint(labels),
        source=poster.source,
    )


class Shown(NamedTuple):
    """One alert in the API's form, with what it was chosen by."""

    alert: AlertState
    receivers: list[str]
    silenced: list[str]
    inhibited: list[str]
    document: dict[str, Any]


class Choice(NamedTuple):
    """What a caller wants to see (query parameters of `GET /alerts`)."""

    active: bool = True
    silenced: bool = True
    inhibited: bool = True
    matchers: tuple[Matcher, ...] = ()
    receiver: Matcher | None = None

    def takes(self, shown: Shown) -> bool:
        suppressed = bool(shown.silenced or shown.inhibited)
        return (
            (self.active or suppressed)
            and (self.silenced or not shown.silenced)
            and (self.inhibited or not shown.inhibited)
            and matches(self.matchers, shown.alert.labels)
        )

    def takes_receiver(self, name: str) -> bool:
        return self.receiver is None or matches([self.receiver], {"receiver": name})


class Present:
    """Everything that fires now, looked at once: what silences and inhibits it and where it is routed."""

    def __init__(
        self, config: AlertingConfig, states: Iterable[AlertState], silences: Iterable[Silence], now_ms: int
    ) -> None:
        self._config = config
        self._firing = [each for each in states if each.state is Status.FIRING]
        self._silences = active(silences, now_ms)
        self._inhibitor = Inhibitor(config.inhibit_rules, self._firing)
        self._now_ms = now_ms

    def alerts(self, choice: Choice, tenants: tuple[str, ...]) -> list[dict[str, Any]]:
        """As `GET /alerts` gives them, by fingerprint. `tenants`: whose; empty: everybody's."""
        found = [
            shown
            for shown in self._shown(choice, tenants)
            if any(choice.takes_receiver(receiver) for receiver in shown.receivers)
        ]
        return [each.document for each in sorted(found, key=lambda each: each.alert.fingerprint)]

    def groups(self, choice: Choice, tenants: tuple[str, ...]) -> list[dict[str, Any]]:
        """As `GET /alerts/groups` gives them: one for each receiver and group."""
        out: dict[tuple[str, str, str], dict[str, Any]] = {}
        for shown in sorted(self._shown(choice, tenants), key=lambda each: each.alert.fingerprint):
            for to in destinations(self._config.route, shown.alert.labels):
                if choice.takes_receiver(to.route.receiver):
                    empty = {"labels": to.group_labels, "receiver": {"name": to.route.receiver}, "alerts": []}
                    group = out.setdefault((shown.alert.tenant, to.route.receiver, to.group_key), empty)
                    group["alerts"].append(shown.document)
        return sorted(out.values(), key=lambda group: (sorted(group["labels"].items()), group["receiver"]["name"]))

    def _shown(self, choice: Choice, tenants: tuple[str, ...]) -> Iterable[Shown]:
        for alert in self._firing:
            if not tenants or alert.tenant in tenants:
                receivers = [to.route.receiver for to in destinations(self._config.route, alert.labels)]
                silenced = silenced_by(alert, self._silences)
                inhibited = self._inhibitor.inhibited_by(alert)
                document = self._document(alert, receivers, silenced, inhibited)
                shown = Shown(alert, receivers, silenced, inhibited, document)
                if choice.takes(shown):
                    yield shown

    def _document(
        self, alert: AlertState, receivers: list[str], silenced: list[str], inhibited: list[str]
    ) -> dict[str, Any]:
        """`endsAt`: what fires is known to do so for now; when it was last observed is not published."""
        ends: Mapping[str, int] = {"endsAt": alert.ends_at_ms or self._now_ms + self._config.resolve_timeout_ms}
        return {
            "annotations": alert.annotations,
            "endsAt": rfc3339(ends["endsAt"]),
            "fingerprint": alert.fingerprint,
            "receivers": [{"name": name} for name in dict.fromkeys(receivers)],
            "startsAt": rfc3339(alert.starts_at_ms),
            "status": {
                "inhibitedBy": inhibited,
                "mutedBy": [],
                "silencedBy": silenced,
                "state": "suppressed" if silenced or inhibited else "active",
            },
            "updatedAt": rfc3339(alert.updated_at_ms),
            "generatorURL": alert.generator_url,
            "labels": alert.labels,
        }
