"""`slack_configs` of an alertmanager.yml: the same messages as a real Alertmanager posts."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from schemas.alerts import AlertState, Status, fingerprint
from schemas.notifications import Context, Decision, Notification
from streams.alerting import WrongConfig, parse
from streams.sinks.channel import Job
from streams.sinks.kinds import Platform
from streams.sinks.slack import Slack
from tests.alerts.test_like_alertmanager import posts
from tests.parts.monitoring import alertmanager
from tests.parts.process import Missing
from tests.parts.session import missing

FILES = '{{ define "own.title" }}{{ .Status }}/{{ .CommonLabels.ns }}{{ end }}'
RECEIVERS = [
    {"channel": "#plain"},
    {
        "channel": "#own",
        "title": '{{ template "own.title" . }}',
        "text": "{{ range .Alerts }}{{ .Labels.pod }} {{ end }}",
    },
    {
        "channel": "#{{ .CommonLabels.ns }}",
        "fields": [{"title": "a", "value": "{{ .Status }}"}, {"title": "b", "value": "c", "short": False}],
        "short_fields": True,
        "link_names": True,
        "image_url": "http://i.test/",
        "color": "x",
        "icon_emoji": ":bell:",
        "mrkdwn_in": ["text"],
    },
]  # fmt: skip


def config(folder: Path, url: str) -> str:
    (folder / "own.tmpl").write_text(FILES, "utf-8")
    return json.dumps(
        {
            "global": {"slack_api_url": url},
            "templates": [f"{folder}/*.tmpl"],
            "route": {"receiver": "team", "group_by": ["alertname"], "group_wait": "200ms", "group_interval": "1s"},
            "receivers": [{"name": "team", "slack_configs": RECEIVERS}],
        }
    )


def _theirs(text: str, labels: list[dict[str, str]], bodies: list[Any]) -> None:
    """Return when a real one has posted to each channel."""
    try:
        with alertmanager(text, alone=True) as url:
            body = json.dumps([{"labels": each} for each in labels]).encode()
            request = urllib.request.Request(f"{url}/api/v2/alerts", body, {"Content-Type": "application/json"})
            urllib.request.urlopen(request, timeout=10).close()
            deadline = time.monotonic() + 60
            while len(bodies) < len(RECEIVERS) and time.monotonic() < deadline:
                time.sleep(0.05)
    except Missing as error:
        missing("alertmanager", str(error))


async def test_messages_are_those_of_a_real_alertmanager(tmp_path: Path) -> None:
    labels = [{"alertname": "A", "ns": "shop", "pod": pod} for pod in ("p1", "p2")]
    with posts() as (hook, bodies):
        text = config(tmp_path, hook)
        _theirs(text, labels, bodies)
        theirs = sorted(bodies, key=str)
        external = theirs[0]["attachments"][0]["title_link"].split("/#/")[0]
        bodies.clear()
        receiver = parse(text).receivers[0]
        slack = Slack(Platform(external, allow_private=True))
        for target in slack.targets(receiver):
            await slack.send(job(target, [state(each) for each in labels]))
        await slack.close()
        assert sorted(bodies, key=str) == theirs


def state(labels: dict[str, str]) -> AlertState:
    return AlertState(
        tenant="platform",
        fingerprint=fingerprint(labels),
        episode="e",
        state=Status.FIRING,
        labels=labels,
        starts_at_ms=1_700_000_000_000,
        updated_at_ms=1_700_000_000_000,
        seq=1,
    )


def job(target: Any, alerts: list[AlertState]) -> Job:
    notification = Notification(
        id="n1",
        tenant="platform",
        receiver="team",
        group_key="k",
        group_labels={"alertname": "A"},
        flush=1,
        decision=Decision.SEND,
        status="firing",
        alerts=alerts,
        decided_at_ms=1_700_000_000_000,
    )
    return Job(notification=notification, target=target, alerts=alerts, context=Context(), notes=[], now_ms=1)


async def test_what_cannot_be_rendered_is_told_in_our_own_form() -> None:
    with posts() as (hook, bodies):
        slack_config = {"api_url": hook, "title": "{{ (index .Alerts 7).Status }}"}
        receiver = {"name": "a", "slack_configs": [slack_config]}
        text = json.dumps({"route": {"receiver": "a"}, "receivers": [receiver]})
        slack = Slack(Platform("http://es.test", allow_private=True))
        (target,) = slack.targets(parse(text).receivers[0])
        await slack.send(job(target, [state({"alertname": "A"})]))
        await slack.close()
    assert "could not be rendered" in json.dumps(bodies[0]["blocks"])


@pytest.mark.parametrize(
    ("field", "complaint"),
    [
        ("title: '{{ nope }}'", ".title: line 1 of the template: there is no function 'nope' here"),
        ("fields: [{title: '{{ .Nope }}', value: x}]", ".title: line 1 of the template: there is no .Nope in Data"),
        ("fields: [{title: x}]", "expected title, value and perhaps short"),
        ("actions: [{type: button}]", "unknown field `actions`"),
        ("__files: [[a, b]]", "no such field"),
    ],
)
def test_what_is_wrong_is_named(field: str, complaint: str) -> None:
    text = (
        f"route: {{receiver: a}}\nreceivers:\n- name: a\n  slack_configs:\n  - api_url: http://x.test/\n    {field}\n"
    )
    with pytest.raises(WrongConfig) as caught:
        parse(text)
    assert complaint in str(caught.value)
