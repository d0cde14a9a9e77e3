"""Reading an alertmanager.yml: everything that is wrong is named with its line, nothing is ignored."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from gateway.cli.main import app
from schemas.alerting import AlertingConfig, Route, WebhookConfig
from schemas.platform import Control
from streams.alerting import DEFAULT, LiveConfig, WrongConfig, load, parse
from streams.settings import Alerting, Settings, Smtp
from streams.sinks.smtp import parse_url
from streams.yaml_nodes import parse_duration
from tests.parts.monitoring import amtool
from tests.parts.process import Missing
from tests.parts.session import missing

GOOD = """\
global:
  resolve_timeout: 2m
route:
  receiver: team
  group_by: [cluster, alertname]
  group_wait: 10s
  routes:
    - matchers: ['severity="page"', 'ns=~"a|b"']
      receiver: pager
      continue: true
      group_by: ['...']
      repeat_interval: 1h30m
      routes:
        - match: {team: db}
    - match: {service: db}
      match_re: {pod: "db-.*"}
      group_wait: 0s
      receiver: hook
receivers:
  - name: team
    email_configs: [{to: 'a@b.test, Ops <c@d.test>', headers: {X-Team: ops}}]
  - name: pager
    webhook_configs:
      - url: https://u:hunter2@pager.test:9/s3cret?t=s3cret
        max_alerts: 7
        http_config: {authorization: {credentials: s3cret}, enable_http2: true, follow_redirects: false}
      - url_file: url
        http_config: {basic_auth: {username: me, password_file: pw}}
    apprise_configs: [{url: 'slack://s3cret', send_resolved: false}]
  - name: hook
    alertmanager_configs: [{url: 'http://other:9093', http_config: {bearer_token: s3cret}}]
inhibit_rules:
  - source_matchers: [severity="critical"]
    target_match: {severity: warning}
    equal: [alertname]
"""
MAIL = "receivers:\n- name: a\n  email_configs: [{to: x@y}]\n"


@pytest.fixture
def good(tmp_path: Path) -> AlertingConfig:
    (tmp_path / "url").write_text("https://from.file/s3cret\n", "utf-8")
    (tmp_path / "pw").write_text("s3cret\n", "utf-8")
    return parse(GOOD, str(tmp_path / "alertmanager.yml"))


def test_routes_inherit(good: AlertingConfig) -> None:
    root, (pager, hook) = good.route, good.route.routes
    assert (root.receiver, root.key, root.group_by) == ("team", "{}", ["alertname", "cluster"])
    assert (root.timing.group_wait_ms, root.timing.group_interval_ms) == (10_000, 300_000)
    assert pager.key == '{}/{ns=~"a|b",severity="page"}'
    assert (pager.continue_, pager.group_by, pager.timing.repeat_interval_ms) == (True, ["..."], 5_400_000)
    inner: Route = pager.routes[0]
    assert (inner.receiver, inner.group_by, inner.timing) == ("pager", ["..."], pager.timing)
    assert inner.key == '{}/{ns=~"a|b",severity="page"}/{team="db"}'
    assert hook.key == '{}/{pod=~"^(?:db-.*)$",service="db"}'
    assert (hook.timing.group_wait_ms, hook.continue_, hook.group_by) == (0, False, root.group_by)
    assert good.resolve_timeout_ms == 120_000


def test_receivers_have_their_channels(good: AlertingConfig) -> None:
    team, pager, hook = good.receivers
    assert team.email[0].addresses == ["a@b.test", "Ops <c@d.test>"]
    assert (team.send_resolved, pager.send_resolved) == (False, True)
    direct, from_file = pager.webhook
    assert (direct.authorization, direct.max_alerts) == ("Bearer s3cret", 7)
    assert (from_file.url, from_file.authorization) == ("https://from.file/s3cret", "Basic bWU6czNjcmV0")
    assert not pager.apprise[0].send_resolved
    assert hook.alertmanager[0].authorization == "Bearer s3cret"


def test_secrets_do_not_show(good: AlertingConfig) -> None:
    for text in (repr(good.receivers), good.original):
        assert "s3cret" not in text
        assert "hunter2" not in text
        assert "czNjcmV0" not in text
    assert "<secret>" in repr(WebhookConfig(url="http://x/"))


def test_amtool_reads_what_is_shown(good: AlertingConfig, tmp_path: Path) -> None:
    try:
        program = amtool()
    except Missing as error:
        missing("alertmanager", str(error))
    for name, config in (("good", good), ("default", parse(DEFAULT, smtp_url="smtps://u:p@mail.test:465?from=a@b.c"))):
        file = tmp_path / f"{name}.yml"
        file.write_text(config.original, "utf-8")
        done = subprocess.run([program, "check-config", str(file)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", ":1: is empty"),
        ("route: [", ":1: not YAML"),
        ("- a", ":1: expected fields"),
        ("receivers: []", ":1: no route"),
        ("route: {}", ":1: route: the root route must name a receiver"),
        ("route: {receiver: x}", ":1: route.receiver: no receiver named 'x'; there are: none"),
        ("route:\n  receiver: a\n  matchers: [a=b]", ":3: route.matchers: the root route takes every alert"),
        ("route:\n  receiver: a\n  group_wait: 5", ":3: route.group_wait: expected a duration"),
        ("route:\n  receiver: a\n  group_interval: 0s", ":3: route.group_interval: cannot be zero"),
        ("route:\n  receiver: a\n  group_by: [x, x]", ":3: route.group_by[1]: given twice"),
        ("route:\n  receiver: a\n  group_by: [x, '...']", ":3: route.group_by: `...` stands for all"),
        ("route:\n  receiver: a\n  group_by: [x-y]", "'x-y' is not a label name"),
        (
            "route:\n  receiver: a\n  routes:\n  - matchers: ['a=~\"(\"']",
            ":4: route.routes[0].matchers[0]: regular exp",
        ),
        ("route:\n  receiver: a\n  routes:\n  - match_re: {a: '(?=x)'}", ":4: route.routes[0].match_re.a: regular"),
        ("route:\n  receiver: a\n  routes:\n  - matchers: [a]", ":4: route.routes[0].matchers[0]: bad matcher"),
        (
            "route:\n  receiver: a\n  routes:\n  - mute_time_intervals: [x]",
            ":4: route.routes[0].mute_time_intervals[0]: no time interval named 'x'; there are: none",
        ),
        ("route:\n  receiver: a\n  receiver: b", ":3: route.receiver: given twice"),
        ("route:\n  receiver: a\n  group_bye: [x]", ":3: route.group_bye: no such field"),
        ("global:\n  smtp_auth_secret: x\n" + MAIL, ":2: global.smtp_auth_secret: CRAM-MD5 is not supported"),
        ("global:\n  smtp_smarthost: x\n  smtp_from: a@b\n" + MAIL, ":2: global.smtp_smarthost: expected host:port"),
        ("global:\n  smtp_smarthost: x:25\n" + MAIL, ":2: global.smtp_smarthost: expected smtp_from"),
        ("global:\n  smtp_smartghost: x:25", ":2: global.smtp_smartghost: not supported"),
        ("global:\n  opsgenie_api_url: x", ":2: global.opsgenie_api_url: not supported"),
        ("templates: {a: b}", ":1: templates: expected a list"),
        ("time_intervals: [{time_intervals: []}]", ":1: time_intervals[0]: expected a name"),
        ("time_intervals: [{name: x}, {name: x}]", ":1: time_intervals[1].name: the name 'x' is taken"),
        ("route: {receiver: a, active_time_intervals: [x]}", "the root route cannot be muted"),
        ("receivers:\n- name: a\n- name: a", ":3: receivers[1]: a receiver named 'a' exists"),
        ("receivers:\n- email_configs: []", ":2: receivers[0]: a receiver needs a name"),
        (
            "receivers:\n- name: a\n  pagerduty_configs: [{}]",
            ":3: receivers[0].pagerduty_configs: not supported: write `apprise_c",
        ),
        (
            "receivers:\n- name: a\n  wechat_configs: [{}]",
            ":3: receivers[0].wechat_configs: not supported: write `wecom",
        ),
        (
            "receivers:\n- name: a\n  webhook_configs:\n  - {url: 'http://x', http_config: {follow_redirects: true}}",
            ".http_config.follow_redirects: redirects are not followed",
        ),
        ("receivers:\n- name: a\n  carrier_pigeon: [{}]", ":3: receivers[0].carrier_pigeon: not supported; there are"),
        (
            "receivers:\n- name: a\n  email_configs:\n  - to: nobody",
            ":4: receivers[0].email_configs[0].to: 'nobody' is",
        ),
        ("receivers:\n- name: a\n  email_configs:\n  - {}", ":4: receivers[0].email_configs[0]: `to` is missing"),
        (
            "receivers:\n- name: a\n  email_configs:\n  - html: |\n      <p>\n      {{ nope }}\n    to: a@b",
            ":4: receivers[0].email_configs[0].html: line 2 of the template: there is no function 'nope' here",
        ),
        ("receivers:\n- name: a\n  email_configs:\n  - {to: '{{ .x }}@b'}", ".to: templates are not supported here"),
        (
            "receivers:\n- name: a\n  email_configs:\n  - {to: a@b, html: '<script>{{ .Status }}</script>'}",
            ".html: line 1 of the template: a value may not stand in <script> in HTML",
        ),
        (
            "receivers:\n- name: a\n  email_configs:\n  - {to: a@b, headers: {S: '{{ .x }}'}}",
            "headers.S: line 1 of the template: there is no .x in Data; there are: Alerts, CommonAnnotations",
        ),
        ("receivers:\n- name: a\n  webhook_configs:\n  - {}", "webhook_configs[0]: expected url or url_file"),
        ("receivers:\n- name: a\n  webhook_configs:\n  - {url: a, url_file: b}", "expected url or url_file, not both"),
        ("receivers:\n- name: a\n  webhook_configs:\n  - url: ftp://s3cret", ".url: expected an http or https URL"),
        ("receivers:\n- name: a\n  webhook_configs:\n  - url_file: /nowhere", ".url_file: cannot read '/nowhere'"),
        ("receivers:\n- name: a\n  webhook_configs:\n  - {url: 'http://x', http_config: {tls_config: {}}}", "not supp"),
        ("receivers:\n- name: a\n  apprise_configs:\n  - url: s3cret", ".url: expected one of Apprise's URLs"),
        ("inhibit_rules:\n- sauce_match: {}", ":2: inhibit_rules[0].sauce_match: no such field"),
        ("a: &a {b: 1}\nc: {<<: *a, <<: *a}", ":1: a: no such field"),
        ("a: &a\n  b: *a", "too many values"),
        ("[" * 2000, "nested too deeply"),
        ("route: {receiver: !!python/object:os.x a}", "route.receiver"),
        ("a" * (2 << 20), "larger than 1 MiB"),
    ],
)
def test_what_is_wrong_is_named(text: str, complaint: str) -> None:
    with pytest.raises(WrongConfig) as caught:
        parse(text, "am.yml")
    assert complaint in str(caught.value)
    assert all(line.startswith("am.yml:") for line in str(caught.value).splitlines())
    assert "s3cret" not in str(caught.value)


def test_all_complaints_come_at_once_in_the_files_order() -> None:
    with pytest.raises(WrongConfig) as caught:
        parse("route:\n  receiver: x\n  zzz: 1\n  group_wait: y\nnonsense: 1\n", "f")
    assert [line.split(":")[1] for line in str(caught.value).splitlines()] == ["2", "3", "4", "5"]


def test_without_a_file_there_is_a_mailbox() -> None:
    config = load(Settings())
    assert config.route.receiver == "mailbox"
    assert config.receivers[0].email[0].to == "ops@eventsphere.local"
    assert config.receivers[0].send_resolved
    assert config.route.timing.group_wait_ms == 5_000


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WrongConfig, match=r"gone\.yml: cannot be read"):
        load(Settings(alerting=Alerting(config=str(tmp_path / "gone.yml"))))


async def test_a_wrong_reload_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "am.yml"
    file.write_text("route: {receiver: a}\nreceivers: [{name: a}]", "utf-8")
    live = LiveConfig(Settings(alerting=Alerting(config=str(file)), smtp=Smtp()))
    file.write_text("nonsense", "utf-8")
    assert not await live.on_control(Control(type="rules.changed", time_ms=1))
    with pytest.raises(WrongConfig):
        await live.on_control(Control(type="alerting.changed", time_ms=1))
    assert live.current.route.receiver == "a"
    file.write_text("route: {receiver: b}\nreceivers: [{name: b}]", "utf-8")
    assert await live.on_control(Control(type="alerting.changed", time_ms=1))
    assert live.current.route.receiver == "b"


@pytest.mark.parametrize(("text", "ms"), [("0", 0), ("1m30s", 90_000), ("1d", 86_400_000), ("500ms", 500)])
def test_durations(text: str, ms: int) -> None:
    assert parse_duration(text) == ms


@pytest.mark.parametrize("text", ["", "5", "s", "1.5h", "-1s", "1s1m", " 1s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


words = st.sampled_from(["route", "receiver", "receivers", "a", "group_by", "webhook_configs", "url", "matchers"])
values: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(values)
def test_whatever_is_in_the_file_it_is_read_or_refused(value: object) -> None:
    with suppress(WrongConfig):
        assert parse(yaml.safe_dump(value)).route.receiver


def test_a_wrong_configuration_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "am.yml"
    file.write_text("route: {receiver: x}\n", "utf-8")
    monkeypatch.setenv("EVENTSPHERE_ALERTING__CONFIG", str(file))
    for command in (["gateway"], ["worker"], ["up"]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 2
        assert f"{file}:1: route.receiver: no receiver named 'x'" in result.stderr


def test_routes_test_says_where_an_alert_goes(tmp_path: Path) -> None:
    file = tmp_path / "am.yml"
    file.write_text(GOOD.replace("url_file: url", "url: http://x").replace("password_file: pw", "password: x"), "utf-8")
    option = ["--config-file", str(file)]
    result = CliRunner().invoke(app, ["routes", "test", "severity=page", "ns=a", *option])
    assert result.stdout == 'pager\t{}/{ns=~"a|b",severity="page"}:{ns="a", severity="page"}\n'
    assert CliRunner().invoke(app, ["routes", "test", "service=db", *option]).stdout == "team\t{}:{}\n"
    assert CliRunner().invoke(app, ["routes", "test", "nonsense", *option]).exit_code == 2
    assert "pager  continue" in CliRunner().invoke(app, ["routes", "show", *option]).stdout
    file.write_text("x", "utf-8")
    assert CliRunner().invoke(app, ["routes", "show", *option]).exit_code == 1


MAILING = """\
global:
  smtp_smarthost: mail.test:587
  smtp_from: Alerts <alerts@mail.test>
  smtp_auth_username: me@mail.test
  smtp_auth_password: s3cret
  smtp_hello: am.test
templates: ['own/*.tmpl', 'none/*.tmpl']
route: {receiver: team}
receivers:
- name: team
  email_configs:
  - to: a@b.test
    headers: {subject: '{{ template "own.subject" . }}'}
    html: '{{ template "email.default.html" . }}'
  - {to: c@d.test, smarthost: 'other.test:465', text: '{{ .Status }}', html: ''}
  - {to: e@f.test, smarthost: 'plain.test:25', require_tls: false, auth_password_file: pw}
"""


def test_mail_settings_and_templates_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("p@ss\n", "utf-8")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.tmpl").write_text('{{ define "own.subject" }}{{ .Status }}!{{ end }}', "utf-8")
    config = parse(MAILING, str(tmp_path / "am.yml"))
    own, other, plain = config.receivers[0].email
    from_ = "from=Alerts%20%3Calerts@mail.test%3E&hello=am.test"
    assert own.server == f"smtp+starttls://me%40mail.test:s3cret@mail.test:587?{from_}"
    assert other.server == f"smtps://me%40mail.test:s3cret@other.test:465?{from_}"
    assert plain.server == f"smtp://me%40mail.test:p%40ss@plain.test:25?{from_}"
    assert parse_url(own.server).sender == "Alerts <alerts@mail.test>"
    assert (own.html, own.text, other.html, other.text) == (None, None, "", "{{ .Status }}")
    assert [name for name, _ in own.templates] == [str(tmp_path / "own" / "a.tmpl")]
    for text in (repr(config.receivers), config.original):
        assert "s3cret" not in text
        assert "p%40ss" not in text
    (tmp_path / "own" / "b.tmpl").write_text('\n{{ define "email.default.html" }}<b>{{ .Nope }}{{ end }}', "utf-8")
    with pytest.raises(WrongConfig, match=r"am\.yml:14: .*\.html: .*b\.tmpl:2: there is no \.Nope in Data"):
        parse(MAILING, str(tmp_path / "am.yml"))
    (tmp_path / "own" / "b.tmpl").write_text('\n{{ define "email.default.html" }}<b>{{ .Status }}{{ end }}', "utf-8")
    config = parse(MAILING, str(tmp_path / "am.yml"))
    assert config.receivers[0].email[0].html == '{{ template "email.default.html" . }}'
    (tmp_path / "own" / "b.tmpl").write_text("\n\n{{ if }", "utf-8")
    with pytest.raises(WrongConfig, match=r"am\.yml:7: templates\[0\]: .*b\.tmpl:3: unexpected"):
        parse(MAILING, str(tmp_path / "am.yml"))
