"""Slack, DingTalk, WeCom and Feishu against servers that answer as their documentation says, and the public hook.

Documentation: docs.slack.dev/messaging/sending-messages-using-incoming-webhooks;
open.dingtalk.com/document/robots/custom-robot-access; developer.work.weixin.qq.com/document/path/91770;
open.feishu.cn/document/client-docs/bot-v3/add-custom-bot.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from aiohttp import web

from schemas import alerting
from schemas.alerting import Other, Receiver
from streams import alerting as loading
from streams.errors import Failure, Invalid, Retryable
from streams.sinks import kinds as hook
from streams.sinks.channel import Away, Channel, Job, Target, reference
from streams.sinks.kinds import Kind, Platform, kinds
from streams.sinks.slack import mrkdwn
from tests.delivery.samples import TIME, alert
from tests.delivery.test_channels import failure_of, http_server, job

SECRET = "SEC-of-the-robot"


def a_job(kind: str, channel: Channel, **fields: Any) -> Job:
    config = kinds()[kind].read(fields)
    (target,) = channel.targets(Receiver(name="ops", others=[Other(kind=kind, config=config)]))
    made = job(channel, config, target=target)
    evil = alert("Down", pod="a", where="<!channel> [click](http://evil) @all <at user_id='all'></at>")
    evil = msgspec.structs.replace(
        evil, annotations={"summary": "支付失败 [click](http://evil.example) <!channel> @all"}
    )
    return msgspec.structs.replace(made, alerts=[evil])


async def sent(kind: str, answer: web.Response, **fields: Any) -> tuple[Any, dict[str, list[str]], Failure | None]:
    """(what the server got as JSON, the URL's parameters, what became of it)."""
    seen: list[tuple[Any, dict[str, list[str]]]] = []

    async def take(request: web.Request) -> web.Response:
        seen.append((await request.json(), parse_qs(urlsplit(str(request.rel_url)).query)))
        return answer

    async with http_server(take) as url:
        channel = kinds()[kind].make(Platform("https://es.example.org", allow_private=True))
        name = "api_url" if kind == "slack" else "url"
        made = a_job(kind, channel, **{name: f"{url}/hook/t0ken?access_token=s3cret"}, **fields)
        assert "s3cret" not in made.target.name + repr(made.target.config)
        failure = await failure_of(channel, made)
    ((body, query),) = seen
    return body, query, failure


async def test_slack() -> None:
    body, _, failure = await sent("slack", web.Response(text="ok"))
    assert failure is None
    assert body["text"].startswith("[FIRING:1] Down")
    header, *sections = body["blocks"]
    assert header["type"] == "header"
    text = "".join(each["text"]["text"] for each in sections)
    assert "<https://es.example.org/alerts/" in text
    assert "支付失败" in text
    # What came with the alert makes neither links nor mentions.
    assert "<!channel>" not in text
    assert "|click>" not in text
    assert mrkdwn("[a|b](http://x/?y|z) \\*no\\* <&>") == "<http://x/?y%7Cz|a|b> *no* &lt;&amp;&gt;"


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (400, "invalid_payload", Invalid),
        (403, "action_prohibited", Invalid),
        (404, "channel_not_found", Invalid),
        (410, "channel_is_archived", Invalid),
        (429, "rate_limited", Retryable),
        (500, "rollup_error", Away),
        (200, "<html>a login page</html>", Away),
    ],
)
async def test_slacks_answers(status: int, text: str, kind: type[Failure]) -> None:
    *_, failure = await sent("slack", web.Response(status=status, text=text))
    assert type(failure) is kind


async def test_dingtalk_signs() -> None:
    answer = web.json_response({"errcode": 0, "errmsg": "ok"})
    body, query, failure = await sent("dingtalk", answer, secret=SECRET, at_mobiles=["13800000000"])
    assert failure is None
    assert body["msgtype"] == "markdown"
    assert body["markdown"]["title"].startswith("[FIRING:1] Down")
    assert body["markdown"]["text"].endswith("@13800000000")
    assert body["at"] == {"atMobiles": ["13800000000"], "isAtAll": False}
    assert "](http://evil" not in body["markdown"]["text"].replace("\\]\\(http", "")
    (timestamp,), (sign,) = query["timestamp"], query["sign"]
    mac = hmac.new(SECRET.encode(), f"{timestamp}\n{SECRET}".encode(), hashlib.sha256).digest()
    assert timestamp == str(TIME)
    assert sign == base64.b64encode(mac).decode()
    assert query["access_token"] == ["s3cret"]


async def test_wecom() -> None:
    answer = web.json_response({"errcode": 0, "errmsg": "ok"})
    body, _, failure = await sent("wecom", answer, mentioned=["wangqing"], language="zh")
    assert failure is None
    content = body["markdown"]["content"]
    assert content.startswith('<@wangqing>**<font color="warning">[告警:1] Down')
    assert "严重" not in content
    assert "触发中" in content
    assert len(content.encode()) <= 4096


async def test_feishu_signs() -> None:
    answer = web.json_response({"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}, "msg": "success"})
    body, _, failure = await sent("feishu", answer, secret=SECRET)
    assert failure is None
    mac = hmac.new(f"{TIME // 1000}\n{SECRET}".encode(), b"", hashlib.sha256).digest()
    assert (body["timestamp"], body["sign"]) == (str(TIME // 1000), base64.b64encode(mac).decode())
    assert body["msg_type"] == "interactive"
    assert body["card"]["header"]["template"] == "orange"
    assert "<at" not in body["card"]["elements"][0]["content"].replace("\\<", "")


ANSWERS: list[tuple[str, dict[str, Any], type[Failure]]] = [
    ("dingtalk", {"errcode": 310000, "errmsg": "sign not match"}, Invalid),
    ("dingtalk", {"errcode": 300001, "errmsg": "token is not exist"}, Invalid),
    ("dingtalk", {"errcode": 130101, "errmsg": "send too fast"}, Retryable),
    ("dingtalk", {"errcode": -1, "errmsg": "系统繁忙"}, Away),
    ("wecom", {"errcode": 93000, "errmsg": "invalid webhook url"}, Invalid),
    ("wecom", {"errcode": 45009, "errmsg": "api freq out of limit"}, Retryable),
    ("wecom", {"errcode": -1, "errmsg": "system busy"}, Away),
    (
        "feishu",
        {"code": 19021, "msg": "sign match fail or timestamp is not within one hour from current time"},
        Invalid,
    ),
    ("feishu", {"code": 19024, "msg": "Key Words Not Found"}, Invalid),
    ("feishu", {"code": 11232, "msg": "frequency limited psm[lark.oapi.app_platform_runtime]"}, Retryable),
    ("feishu", {"html": "what is this"}, Away),
]


@pytest.mark.parametrize(("kind", "answer", "failure"), ANSWERS)
async def test_refusals_with_status_200_are_refusals(kind: str, answer: dict[str, Any], failure: type[Failure]) -> None:
    *_, said = await sent(kind, web.json_response(answer))
    assert type(said) is failure
    if "html" not in answer:
        assert said.reason == f"{kind}_{answer.get('errcode', answer.get('code'))}"


async def test_a_receivers_own_template() -> None:
    body, _, failure = await sent(
        "wecom", web.json_response({"errcode": 0}), template="{% for a in alerts %}{{ a.name }}!{% endfor %}"
    )
    assert failure is None
    assert body["markdown"]["content"].endswith("\nDown!")


async def test_a_template_that_fails_is_said_and_the_message_goes_out() -> None:
    body, _, failure = await sent("wecom", web.json_response({"errcode": 0}), template="{{ nobody.knows }}")
    assert failure is None
    content = body["markdown"]["content"]
    assert "could not be rendered: 'nobody' is undefined" in content.replace("\\", "")
    assert "[Down](https://es.example.org" in content


CONFIG = """
route: {receiver: ops}
receivers:
  - name: ops
    slack_configs: [{api_url: "https://hooks.slack.com/services/T/B/x"}]
    dingtalk_configs: [{url: "https://oapi.dingtalk.com/robot/send?access_token=x", secret: SECx, at_all: true}]
"""


def test_configuration() -> None:
    (receiver,) = loading.parse(CONFIG).receivers
    assert [each.kind for each in receiver.others] == ["dingtalk", "slack"]
    assert "SECx" not in repr(receiver)
    shown = loading.parse(CONFIG).original
    assert "SECx" not in shown
    assert "hooks.slack.com" not in shown
    assert "access_token" not in repr(receiver)
    assert receiver.send_resolved


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("wecom_configs: [{url: 'ftp://x'}]", "matching regex"),
        ("wecom_configs: [{}]", "missing required field `url`"),
        ("wecom_configs: [{url: 'https://x', color: red}]", "unknown field `color`"),
        ("wecom_configs: [{url: 'https://x', language: fr}]", "$.language"),
        ("feishu_configs: [{url: 'https://x', secret: a, secret_file: b}]", "not both"),
        ("feishu_configs: [{url: 'https://x', secret_file: /nowhere}]", "cannot read"),
        ("feishu_configs: [{url: {a: &a [1]}}]", "Expected `str`"),
        ("pigeon_configs: [{url: 'https://x'}]", "not supported"),
    ],
)
def test_wrong_configurations_are_named(entry: str, complaint: str) -> None:
    with pytest.raises(loading.WrongConfig) as error:
        loading.parse(f"route: {{receiver: ops}}\nreceivers:\n  - name: ops\n    {entry}\n")
    assert complaint in str(error.value)
    assert ":4:" in str(error.value)


def test_secrets_come_from_files(tmp_path: Any) -> None:
    (tmp_path / "url").write_text("https://hooks.slack.com/services/T/B/secret\n")
    text = "route: {receiver: ops}\nreceivers: [{name: ops, slack_configs: [{api_url_file: url}]}]\n"
    (receiver,) = loading.parse(text, str(tmp_path / "alertmanager.yml")).receivers
    (other,) = receiver.others
    assert json.loads(msgspec.json.encode(other.config))["api_url"].endswith("/secret")


class PigeonConfig(alerting.Channel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    loft: str


class Pigeon:
    name = "pigeon"
    wants_context = False

    def __init__(self, platform: Platform) -> None:
        self.flown: list[Job] = []

    def targets(self, receiver: Receiver) -> Sequence[Target]:
        return [
            Target(channel="pigeon", name="loft", ref=reference("pigeon", "loft"), lane="pigeon", config=each.config)
            for each in receiver.others
            if each.kind == "pigeon"
        ]

    async def send(self, job: Job) -> None:
        self.flown.append(job)

    async def close(self) -> None: ...


class Point:
    """An entry point as `importlib.metadata` gives it."""

    def __init__(self, name: str, loaded: object) -> None:
        self.name, self.value, self._loaded = name, f"{name}:KIND", loaded

    def load(self) -> object:
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


async def test_another_package_adds_a_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    pigeon = Kind(name="pigeon", title="Pigeon", page="https://pigeon.example", config=PigeonConfig, make=Pigeon)
    points = [Point("broken", ImportError("no such module")), Point("pigeon", pigeon), Point("wrong", object())]
    monkeypatch.setattr(hook, "entry_points", lambda group: points if group == "eventsphere.channels" else [])
    kinds.cache_clear()
    try:
        assert set(kinds()) == {*hook.OURS, "pigeon"}
        text = "route: {receiver: ops}\nreceivers: [{name: ops, pigeon_configs: [{loft: north}]}]\n"
        (receiver,) = loading.parse(text).receivers
        channel = kinds()["pigeon"].make(Platform("https://es.example.org"))
        assert [target.channel for target in channel.targets(receiver)] == ["pigeon"]
        assert kinds()["pigeon"].schema["required"] == ["loft"]
    finally:
        monkeypatch.undo()
        kinds.cache_clear()
