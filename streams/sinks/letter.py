"""What a notification says to a person: the words and links of a mail, apart from how they are laid out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote, urlencode

import msgspec

from schemas.alerts import AlertState, Status
from schemas.base import rfc3339
from schemas.notifications import Context, Notification
from streams.sinks.words import Say, words

PLACE = ("cluster", "namespace", "workload", "pod", "container", "node")
"""Labels that say where, from wide to narrow."""
WORKLOADS = ("workload", "deployment", "statefulset", "daemonset", "job_name", "cronjob")
HIDDEN = frozenset({"alertname", "severity"})
SHOWN_ALERTS = 25
SHOWN_EVIDENCE = 5
BEFORE_MS = 900_000
AFTER_MS = 300_000
SUBJECT_CHARS = 180


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    state: str
    severity: str
    summary: str
    description: str
    labels: list[tuple[str, str]]
    annotations: list[tuple[str, str]]
    since: str
    until: str
    link: str
    source_link: str
    runbook: str
    evidence: list[tuple[str, str, str]]
    """Link, `topic/partition/offset`, excerpt."""


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    subject: str
    title: str
    firing: bool
    severity: str
    place: list[tuple[str, str]]
    counts: str
    since: str
    alerts: list[AlertView]
    more_alerts: int
    context: Context
    notes: list[str]
    """What is missing and why, one sentence each."""
    links: list[tuple[str, str]]
    receiver: str
    notification: str
    record_link: str
    language: str = "en"


def letter(
    notification: Notification,
    alerts: Sequence[AlertState],
    context: Context,
    base_url: str,
    notes: Sequence[str] = (),
    language: str = "en",
) -> Letter:
    """The letter about `alerts` of `notification`; `base_url` is where people reach the gateway, without a slash."""
    say = words(language)
    firing = [alert for alert in alerts if alert.state is not Status.RESOLVED]
    common = common_labels(alerts)
    place = [(name, common[name]) for name in PLACE if common.get(name)]
    title = common.get("alertname") or _names(alerts) or say("Notification")
    where = "/".join(value for name, value in place if name in ("namespace", "workload")) or common.get("pod", "")
    where = f" {say('in')} {where}" if where else ""
    mark = f"{say('FIRING')}:{len(firing)}" if firing else say("RESOLVED")
    mark = say("TEST") if notification.reason == "test" else mark
    late = [say("Digest of what could not be delivered in time")] if notification.reason == "late" else []
    late = [say("Your digest")] if notification.reason == "held" else late
    return Letter(
        subject=one_line(f"[{mark}] {title}{where}", SUBJECT_CHARS),
        title=title,
        firing=bool(firing),
        severity=worst(alert.labels.get("severity", "") for alert in firing or alerts),
        place=place,
        counts=_counts(len(firing), len(alerts) - len(firing), say),
        since=rfc3339(min((alert.starts_at_ms for alert in alerts), default=notification.decided_at_ms)),
        alerts=[_view(alert, set(common), base_url) for alert in alerts[:SHOWN_ALERTS]],
        more_alerts=max(0, len(alerts) - SHOWN_ALERTS) + notification.truncated,
        context=context,
        notes=[*late, *notes],
        links=_links(common, alerts, base_url, say),
        receiver=notification.receiver,
        notification=notification.id,
        record_link=f"{base_url}/api/v1/notifications/{quote(notification.id, safe='')}",
        language=language,
    )


def common_labels(alerts: Iterable[AlertState]) -> dict[str, str]:
    """Labels that all alerts have with the same value (Alertmanager's commonLabels)."""
    return _common([alert.labels for alert in alerts])


def common_annotations(alerts: Iterable[AlertState]) -> dict[str, str]:
    return _common([alert.annotations for alert in alerts])


def _common(maps: Sequence[Mapping[str, str]]) -> dict[str, str]:
    first, *rest = maps or [{}]
    return {name: value for name, value in first.items() if all(each.get(name) == value for each in rest)}


def worst(severities: Iterable[str]) -> str:
    order = {"critical": 3, "error": 2, "warning": 1}
    return max(severities, key=lambda word: order.get(word, 0), default="")


def one_line(text: str, limit: int) -> str:
    """Without control characters and line breaks (a header must not be broken out of), cut at `limit` characters."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def workload_of(labels: Mapping[str, str]) -> str:
    return next((labels[name] for name in WORKLOADS if labels.get(name)), "")


def _view(alert: AlertState, common: set[str], base_url: str) -> AlertView:
    notes = alert.annotations
    told = {"summary", "description", "message", "runbook_url"}
    return AlertView(
        name=alert.labels.get("alertname", alert.fingerprint),
        state=alert.state.value,
        severity=alert.labels.get("severity", ""),
        summary=notes.get("summary", ""),
        description=notes.get("description", "") or notes.get("message", ""),
        labels=sorted((k, v) for k, v in alert.labels.items() if k not in HIDDEN and not (k in common and k in PLACE)),
        annotations=sorted((k, v) for k, v in notes.items() if k not in told),
        since=rfc3339(alert.starts_at_ms),
        until=rfc3339(alert.ends_at_ms) if alert.state is Status.RESOLVED and alert.ends_at_ms else "",
        link=f"{base_url}/alerts/{quote(alert.fingerprint, safe='')}?{urlencode({'tenant': alert.tenant})}",
        source_link=web(alert.generator_url),
        runbook=web(notes.get("runbook_url", "")),
        evidence=[
            (record_url(base_url, e.topic, e.partition, e.offset), f"{e.topic}/{e.partition}/{e.offset}", e.excerpt)
            for e in alert.evidence[-SHOWN_EVIDENCE:]
        ],
    )


def record_url(base_url: str, topic: str, partition: int, offset: int) -> str:
    """Where the gateway shows one record of a topic."""
    return f"{base_url}/api/v1/records/{quote(topic, safe='')}/{partition}/{offset}"


def web(url: str) -> str:
    """`url` when it is one a browser should follow, else nothing: annotations come from outside."""
    return url if url.startswith(("https://", "http://")) else ""


def _links(common: Mapping[str, str], alerts: Sequence[AlertState], base_url: str, say: Say) -> list[tuple[str, str]]:
    start = min((alert.starts_at_ms for alert in alerts), default=0)
    end = max((alert.ends_at_ms or alert.updated_at_ms for alert in alerts), default=0)
    where = {name: common[name] for name in ("cluster", "namespace", "pod") if common.get(name)}
    if not where.get("pod") and (workload := workload_of(common)):
        where["workload"] = workload
    span = {"start": rfc3339(max(0, start - BEFORE_MS)), "end": rfc3339(max(end, start) + AFTER_MS)}
    query = urlencode(where | span)
    return [
        (say("Logs"), f"{base_url}/logs?{query}"),
        (say("Events"), f"{base_url}/events?{query}"),
        (say("Alerts"), f"{base_url}/alerts"),
    ]


def _names(alerts: Sequence[AlertState]) -> str:
    names = sorted({alert.labels.get("alertname", "") for alert in alerts} - {""})
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def _counts(firing: int, resolved: int, say: Say) -> str:
    told = [f"{count} {say(word)}" for count, word in ((firing, "firing"), (resolved, "resolved")) if count]
    return ", ".join(told) or say("no alerts")
