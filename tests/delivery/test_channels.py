"""Webhook, Apprise and Alertmanager channels against real servers, and whom the guard lets them reach."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from gateway import signatures
from schemas import alerting
from schemas.alerting import AlertmanagerConfig, AppriseConfig, Receiver, WebhookConfig
from schemas.alerts import Status
from schemas.base import rfc3339
from schemas.notifications import Context, Decision, Notification
from streams.alerting import WrongConfig, parse
from streams.errors import Failure, Invalid, Retryable
from streams.sinks.alertmanager import Alertmanager
from streams.sinks.apprise_sink import Apprise
from streams.sinks.channel import Away, Channel, Job, Target
from streams.sinks.guard import GuardedResolver, check_host, guarded_session, refusal
from streams.sinks.http import post, retry_after
from streams.sinks.webhook import Webhook
from tests.delivery.samples import TIME, alert
from tests.parts.monitoring import alertmanager
from tests.parts.process import Missing, free_port
from tests.parts.session import missing

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def job(
    channel: Channel,
    config: alerting.Channel,
    *,
    resolved: bool = False,
    now_ms: int = TIME,
    target: Target | None = None,
) -> Job:
    alerts = [alert("Down", pod="a"), alert("Down", pod="b")]
    if resolved:
        alerts = [msgspec.structs.replace(a, state=Status.RESOLVED, ends_at_ms=TIME + 60_000) for a in alerts]
    made = Notification(
        id="n1",
        tenant="platform",
        receiver="ops",
        group_key='{}:{namespace="shop"}',
        group_labels={"namespace": "shop"},
        flush=1,
        decision=Decision.SEND,
        status="resolved" if resolved else "firing",
        alerts=alerts,
        truncated=3,
        decided_at_ms=TIME,
    )
    if target is None:
        name = {WebhookConfig: "webhook", AppriseConfig: "apprise", AlertmanagerConfig: "alertmanager"}[type(config)]
        (target,) = channel.targets(msgspec.structs.replace(Receiver(name="ops"), **{name: [config]}))
    return Job(notification=made, target=target, alerts=alerts, context=Context(), notes=[], now_ms=now_ms)


@asynccontextmanager
async def http_server(answer: Answer) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def failure_of(channel: Channel, job: Job) -> Failure | None:
    try:
        await channel.send(job)
    except Failure as failure:
        return failure
    finally:
        await channel.close()
    return None


async def test_a_webhook_gets_alertmanagers_payload() -> None:
    seen: list[tuple[dict[str, str], Any]] = []

    async def take(request: web.Request) -> web.Response:
        seen.append((dict(request.headers), await request.json()))
        return web.Response(status=202)

    async with http_server(take) as url:
        channel = Webhook("https://es.example.org", allow_private=True)
        config = WebhookConfig(url=f"{url}/secret-path", authorization="Bearer t0ken", max_alerts=1)
        made = job(channel, config)
        assert await failure_of(channel, made) is None
    assert "secret-path" not in made.target.name
    ((headers, body),) = seen
    assert headers["Authorization"] == "Bearer t0ken"
    assert headers["Idempotency-Key"].startswith("n1-")
    assert set(body) == {
        *("version", "groupKey", "truncatedAlerts", "status", "receiver", "groupLabels", "commonLabels"),
        *("commonAnnotations", "externalURL", "alerts"),
    }
    assert (body["version"], body["status"], body["truncatedAlerts"]) == ("4", "firing", 4)
    assert body["commonLabels"] == {"alertname": "Down", "namespace": "shop"}
    (shown,) = body["alerts"]
    assert shown["status"] == "firing"
    assert (shown["startsAt"], shown["endsAt"]) == (rfc3339(TIME), "0001-01-01T00:00:00Z")


SECRETS = ["whsec_" + base64.b64encode(bytes([n] * 32)).decode() for n in (1, 2)]


async def test_a_webhook_signs_with_each_of_its_keys() -> None:
    seen: list[tuple[dict[str, str], bytes]] = []

    async def take(request: web.Request) -> web.Response:
        seen.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        return web.Response(status=204)

    async with http_server(take) as url:
        channel = Webhook("https://es.example.org", allow_private=True)
        config = WebhookConfig(url=url, format="cloudevents", signing_secrets=SECRETS)
        assert await failure_of(channel, job(channel, config)) is None
    ((headers, body),) = seen
    for secret in SECRETS:
        assert signatures.standard(headers, body, secret, TIME / 1000) == ""
        assert signatures.standard(headers, body + b" ", secret, TIME / 1000) != ""
    other = "whsec_" + base64.b64encode(bytes(32)).decode()
    assert signatures.standard(headers, body, other, TIME / 1000) != ""
    assert headers["content-type"] == "application/cloudevents+json"
    event = json.loads(body)
    assert (event["specversion"], event["id"], event["type"]) == ("1.0", "n1", "notification.send")
    assert [each["labels"]["pod"] for each in event["data"]["alerts"]] == ["a", "b"]


def test_webhooks_are_configured() -> None:
    def read(more: str) -> WebhookConfig:
        entry = f"webhook_configs: [{{url: 'https://x', {more}}}]"
        return parse(f"route: {{receiver: ops}}\nreceivers: [{{name: ops, {entry}}}]\n").receivers[0].webhook[0]

    config = read(f"format: cloudevents, signing_secrets: {SECRETS}")
    assert (config.format, config.signing_secrets) == ("cloudevents", SECRETS)
    assert SECRETS[0] not in repr(config)
    for wrong in ("format: xml", "signing_secrets: [secret]", "signing_secrets: [whsec_c2hvcnQ=]"):
        with pytest.raises(WrongConfig, match="expected"):
            read(wrong)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Invalid), (404, Invalid), (302, Invalid), (429, Retryable), (409, Retryable), (500, Away), (503, Away)],
)
async def test_answers_are_classed(status: int, kind: type[Failure]) -> None:
    calls = 0

    async def answer(_request: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return web.Response(status=status, headers={"Retry-After": "7", "Location": "/elsewhere"}, text="because")

    async with http_server(answer) as url:
        channel = Webhook("https://es.example.org", allow_private=True)
        failure = await failure_of(channel, job(channel, WebhookConfig(url=url)))
    assert type(failure) is kind
    assert failure.reason == f"http_{status}"
    assert calls == 1
    if isinstance(failure, Retryable):
        assert failure.after_s == 7


async def test_nobody_there_is_away_and_says_no_secret() -> None:
    channel = Webhook("https://es.example.org", allow_private=True)
    failure = await failure_of(channel, job(channel, WebhookConfig(url=f"http://127.0.0.1:{free_port()}/s3cret")))
    assert isinstance(failure, Away)
    assert "s3cret" not in str(failure)


def test_retry_after() -> None:
    assert retry_after("120", 0) == 120
    assert retry_after("999999", 0) == 3600
    assert retry_after("Mon, 05 Jan 2026 10:01:00 GMT", TIME / 1000) == 60
    assert retry_after("soon", 0) == retry_after("", 0) == retry_after("-5", 0) == 0


REFUSED_ALWAYS = ["169.254.169.254", "169.254.1.1", "fe80::1", "fe80::1%eth0", "0.0.0.0", "::", "224.0.0.1", "ff02::1"]
REFUSED_ALWAYS += [
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "fd00:ec2::254",
    "100.100.100.200",
]
PRIVATE = ["127.0.0.1", "10.1.2.3", "192.168.1.1", "172.16.0.1", "100.64.0.1", "::1", "fd12::1", "::ffff:10.0.0.1"]
PUBLIC = ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("address", REFUSED_ALWAYS)
def test_addresses_that_are_refused_always(address: str) -> None:
    assert refusal(address, allow_private=True)
    assert refusal(address, allow_private=False)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused_unless_allowed(address: str) -> None:
    assert refusal(address, allow_private=False)
    assert not refusal(address, allow_private=True)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_fine(address: str) -> None:
    assert not refusal(address, allow_private=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0x7f.1", "2130706433", "127.1", "0177.0.0.1"])
async def test_no_spelling_of_an_address_gets_through(host: str) -> None:
    calls = 0

    async def take(_request: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return web.Response()

    async with http_server(take) as url:
        port = url.rpartition(":")[2]
        async with guarded_session(allow_private=False) as session:
            with pytest.raises(Failure) as error:
                await post(session, f"http://{host}:{port}/", b"{}", {}, now_s=0)
    assert calls == 0
    assert isinstance(error.value, Invalid)


async def test_a_redirect_into_the_network_is_not_followed() -> None:
    calls: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        calls.append(request.path)
        return web.Response(status=307, headers={"Location": "http://169.254.169.254/latest/meta-data"})

    async with http_server(answer) as url, guarded_session(allow_private=True) as session:
        with pytest.raises(Invalid):
            await post(session, url, b"{}", {}, now_s=0)
    assert calls == ["/"]


async def test_a_name_that_leads_inside_is_refused() -> None:
    resolver = GuardedResolver(allow_private=False)
    with pytest.raises(OSError, match="loopback"):
        await resolver.resolve("localhost", 80)
    await resolver.close()
    with pytest.raises(Invalid):
        await check_host("localhost", allow_private=False)
    await check_host("localhost", allow_private=True)


async def test_an_apprise_url_is_notified() -> None:
    seen: list[Any] = []

    async def take(request: web.Request) -> web.Response:
        seen.append(await request.json())
        return web.Response()

    async with http_server(take) as url:
        channel = Apprise("https://es.example.org", allow_private=True)
        made = job(channel, AppriseConfig(url=url.replace("http://", "json://") + "/hook"))
        assert await failure_of(channel, made) is None
    ((body),) = seen
    assert body["title"] == "[FIRING:2] Down in shop"
    assert "Down is down" in body["message"]
    assert body["type"] == "failure"


async def test_apprise_failures_are_classed() -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=500)

    async with http_server(refuse) as url:
        channel = Apprise("https://es.example.org", allow_private=True)
        failure = await failure_of(channel, job(channel, AppriseConfig(url=url.replace("http://", "json://"))))
        assert type(failure) is Retryable
    channel = Apprise("https://es.example.org", allow_private=True)
    failure = await failure_of(channel, job(channel, AppriseConfig(url="nosuch://host")))
    assert isinstance(failure, Invalid)
    channel = Apprise("https://es.example.org", allow_private=False)
    failure = await failure_of(channel, job(channel, AppriseConfig(url="json://127.0.0.1:9/x")))
    assert isinstance(failure, Invalid)
    assert failure.reason == "forbidden_address"


async def test_a_real_alertmanager_takes_our_alerts_and_their_end() -> None:
    try:
        with alertmanager() as url:
            async with aiohttp.ClientSession() as session:
                channel = Alertmanager(allow_private=True)
                now = time.time_ns() // 1_000_000
                await channel.send(job(channel, AlertmanagerConfig(url=url), now_ms=now))
                assert await _active(session, url, 2) == {"a", "b"}
                await channel.send(job(channel, AlertmanagerConfig(url=url), resolved=True, now_ms=now))
                assert await _active(session, url, 0) == set()
                await channel.close()
    except Missing as error:
        missing("alertmanager", str(error))


async def _active(session: aiohttp.ClientSession, url: str, wanted: int) -> set[str]:
    for _ in range(100):
        async with session.get(f"{url}/api/v2/alerts") as reply:
            pods = {each["labels"]["pod"] for each in json.loads(await reply.text())}
        if len(pods) == wanted:
            break
        await asyncio.sleep(0.1)
    return pods
