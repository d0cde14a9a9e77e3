"""Go templates as Alertmanager's users write them: the same text as the real amtool gives, and bounds it has not."""

from __future__ import annotations

import json
import random
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.gotemplates import Library, TemplateError, data, library
from streams.gotemplates.defaults import NAMES
from streams.gotemplates.gotime import ZERO, Time
from streams.gotemplates.values import Alert, Data
from tests.parts.monitoring import alertmanager, amtool
from tests.parts.process import Missing
from tests.parts.session import missing
from tests.parts.smtpd import smtpd

T0_NS = 1_700_000_000_500_000_000
GIVEN: dict[str, Any] = {
    "receiver": "te am",
    "status": "firing",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "Down", "pod": "p<1>", "Names": "hidden"},
            "annotations": {"summary": 'x < y & "z"', "url": "https://r.test/a b?q=1&r=é"},
            "startsAt": "2023-11-14T22:13:20.5Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://p/g?x=1",
            "fingerprint": "abc",
        },
        {
            "status": "resolved",
            "labels": {"alertname": "Down", "pod": "p2"},
            "annotations": {},
            "startsAt": "2023-11-14T22:13:20.5Z",
            "endsAt": "2023-11-14T23:15:23.25Z",
            "generatorURL": "javascript:alert(1)",
            "fingerprint": "abd",
        },
    ],
    "groupLabels": {"alertname": "Down"},
    "commonLabels": {"alertname": "Down", "ns": "shop", "zone": "z"},
    "commonAnnotations": {},
    "externalURL": "http://am.test/x",
}
CASES = Path(__file__).parents[1] / "fixtures" / "gotemplates"
TEXT, HTML = ((CASES / f"{kind}.txt").read_text("utf-8").splitlines() for kind in ("text", "html"))
"""One template a line."""
FILES = """{{ define "filed" }}file:{{ .Status }}{{ end }}
{{ define "list" }}{{ range . }}{{ .Labels.alertname }} {{ end }}{{ end }}"""
LOOP = "{{ range $.Alerts }}"
START, DOUBLE = "{{ $x := `aaaaaaaaaaaaaaaa` }}", "{{ $x = print $x $x }}"
LONG = START + DOUBLE * 15


def dot() -> Data:
    alerts = []
    for each in GIVEN["alerts"]:
        ends = ZERO if each["status"] == "firing" else Time(T0_NS + 3_722_750_000_000)
        alerts.append(
            Alert(
                each["status"],
                each["labels"],
                each["annotations"],
                Time(T0_NS),
                ends,
                each["generatorURL"],
                each["fingerprint"],
            )
        )
    found = data(GIVEN["receiver"], alerts, GIVEN["groupLabels"], GIVEN["externalURL"])
    found.common_labels |= GIVEN["commonLabels"]
    return found


def theirs(texts: list[str], folder: Path, kind: str = "text") -> list[str]:
    """What the real one makes of each."""
    try:
        program = amtool()
    except Missing as error:
        missing("alertmanager", str(error))
    (folder / "own.tmpl").write_text(FILES, "utf-8")
    (folder / "data.json").write_text(json.dumps(GIVEN), "utf-8")
    command = [program, "template", "render", f"--template.glob={folder}/own.tmpl", f"--template.type={kind}"]
    command += [f"--template.data={folder}/data.json", "--template.text=" + "\n=====\n".join(texts)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.removesuffix("\n").split("\n=====\n")


def ours(text: str, *, html: bool = False) -> str:
    return library((("own.tmpl", FILES),)).render(text, dot(), html=html)


def test_text_is_that_of_amtool(tmp_path: Path) -> None:
    for text, expected in zip(TEXT, theirs(TEXT, tmp_path), strict=True):
        assert ours(text) == expected, text


def test_html_is_that_of_amtool(tmp_path: Path) -> None:
    for text, expected in zip(HTML, theirs(HTML, tmp_path, "html"), strict=True):
        assert ours(text, html=True) == expected, text


def _expression(rng: random.Random, depth: int = 0) -> str:
    """A text-valued expression, random, which is never wrong."""
    leaves = [
        ".Receiver",
        ".Status",
        ".CommonLabels.ns",
        "`x y`",
        '"1"',
        "(index .Alerts 0).Labels.pod",
        "$.ExternalURL",
    ]
    if depth > 2 or rng.random() < 0.3:
        return rng.choice(leaves)
    inner = f"({_expression(rng, depth + 1)})"
    other = f"({_expression(rng, depth + 1)})"
    return rng.choice(
        [
            f"toUpper {inner}", f"{inner} | toLower", f"title {inner}", f"or {inner} {other}", f"and {inner} {other}",
            f"join {other} (stringSlice {inner} `b`)", f"reReplaceAll `[a-m]+` {other} {inner}",
            f"print {inner} {other}", f"printf `%6s|%-9s|` {inner} {other}",
            f"printf `%s/%q/%v` {inner} {other} (len {inner})", f"urlquery {inner}", f"html {inner}",
            f"print (eq {inner} {other}) (lt {inner} {other})", f"slice {inner} 0 1",
        ]
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["text", "html"])
def test_random_expressions_are_those_of_amtool(tmp_path: Path, kind: str) -> None:
    rng = random.Random(5)
    texts = [f"{{{{ with {_expression(rng)} }}}}{{{{ print . }}}}{{{{ end }}}}" for _ in range(150)]
    for text, expected in zip(texts, theirs(texts, tmp_path, kind), strict=True):
        assert ours(text, html=kind == "html") == expected, text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a\n{{ nope . }}", "2: there is no function 'nope' here"),
        ("{{ .Status", "1: an action is not closed"),
        ("\n\n{{ if .Status }}x", "3: the text is over: expected {{ end }}"),
        ("{{ end }}", "1: unexpected {{ end }}"),
        ("{{ $x }}", "1: there is no variable $x"),
        ("{{ .Status | `x` }}", "1: what follows | must be a function"),
        ("{{ `a` `b` }}", "1: only functions and methods take arguments"),
        ("{{ template x }}", "1: expected the name of a template in quotes"),
        ("{{ break }}", "1: break stands outside of range"),
        ("{{ if true }}{{ define `x` }}{{ end }}{{ end }}", "1: define stands within another block"),
        ("{{ .Status # }}", "1: unexpected '# }}'"),
        ('{{ "\\z" }}', "1: bad constant"),
        ("{{ /* x }}", "1: a comment is not closed"),
        ("{{ js `x` }}", "1: there is no function 'js' here"),
        ("{{ call .Status }}", "1: there is no function 'call' here"),
        ("{{ if true }}" * 70, "nested too deeply"),
        ("{{ " + "(" * 70 + " 1 }}", "nested too deeply"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Library().check(text)
    assert complaint in str(caught.value)
    assert caught.value.final


@pytest.mark.parametrize(
    ("text", "complaint", "final"),
    [
        ("\n{{ .Nope }}", "2: there is no .Nope in Data; there are: Alerts, CommonA", True),
        ("{{ .Status.Nope }}", "there is no .Nope in text", False),
        ("{{ template `nope` . }}", "there is no template 'nope'", True),
        ("{{ len 3 }}", "len: a number has no length", False),
        ("{{ index .Alerts 7 }}", "index: 7 is out of range, there are 2", False),
        ("{{ eq 1 `a` }}", "cannot compare a number with text", False),
        ("{{ match `(?=x)` `x` }}", "regular expression", False),
        ("{{ printf `%z` 1 }}", "the verb %z is not supported", False),
        ("{{ printf `%999999999d` 1 }}", "wider than", False),
        ("{{ toUpper }}", "toUpper: expected 1 arguments, not 0", True),
        ("{{ .Status `x` }}", "is no method", True),
        ("{{ index .Alerts 0 }}", "a whole Alert cannot be written", False),
        ("{{ define `a` }}{{ template `a` . }}{{ end }}{{ template `a` . }}", "more than 50 templates", True),
        (LOOP * 12 + "x" * 1000 + "{{ end }}" * 12, "gives more than 1024 Ki", False),
        (START + DOUBLE * 20, "takes more than 100000 steps", False),
        (
            LOOP * 16 + "{{ len $.Status }}" + "{{ end }}" * 16,
            "takes more than 100000 steps", False,
        ),
        (LONG + LOOP * 12 + "{{ len (title $x) }}" + "{{ end }}" * 12, "takes more than 100000 steps", False),
    ],
)  # fmt: skip
def test_what_cannot_be_rendered_ends_with_its_reason(text: str, complaint: str, final: bool) -> None:
    with pytest.raises(TemplateError) as caught:
        Library().render(text, dot())
    assert complaint in str(caught.value)
    assert caught.value.final is final


@pytest.mark.parametrize(
    "text",
    [
        "<script>{{ .Status }}</script>",
        '<p style="{{ .Status }}">',
        '<p onclick="{{ .Status }}">',
        "<p class={{ .Status }}>",
        "<p {{ .Status }}>",
        "<!-- {{ .Status }} -->",
    ],
)
def test_where_a_value_could_do_harm_it_is_refused(text: str) -> None:
    with pytest.raises(TemplateError, match="a value may not stand"):
        Library().render(text, dot(), html=True)


PARTS = ["{{", "}}", " ", "if", "end", ".Status", "range", "$x", ":=", "\n", "len", ".Alerts", "with", "<a href="]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([*"-|()`'a1", *PARTS]), max_size=25))
def test_whatever_stands_there_it_is_rendered_or_refused(parts: list[str]) -> None:
    for html in (False, True):
        with suppress(TemplateError):
            assert isinstance(library(()).render("".join(parts), dot(), html=html), str)


def test_built_in_templates_give_what_a_real_alertmanager_gives() -> None:
    """Its mails' text holds them all; alerts fire, one resolves, then the other."""
    text = "".join(f'={name}=\n{{{{ template "{name}" {_dot_of(name)} }}}}\n' for name in NAMES) + "=over="
    told: list[str] = []
    with smtpd() as server:
        mail = {"to": "x@y.z", "text": text, "html": "", "send_resolved": True}
        config = {
            "global": {"smtp_smarthost": f"127.0.0.1:{server.port}", "smtp_from": "a@b.c", "smtp_require_tls": False},
            "route": {"receiver": "te am", "group_by": ["alertname"], "group_wait": "200ms", "group_interval": "1s"},
            "receivers": [{"name": "te am", "email_configs": [mail]}],
        }  # fmt: skip
        alerts: list[dict[str, Any]] = [
            {"labels": {"alertname": "A", "pod": "p1", "ns": "n"}, "annotations": {"s": "x < y"}, "generatorURL": "http://p/g"},
            {"labels": {"alertname": "A", "pod": "p2", "ns": "n"}},
        ]  # fmt: skip
        try:
            with alertmanager(json.dumps(config), alone=True) as url:
                for ended in ((), (1,), (0,)):
                    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                    changed = [alerts[number] | {"startsAt": "2023-01-01T00:00:00Z", "endsAt": now} for number in ended]
                    _post(url, changed or [each | {"startsAt": "2023-01-01T00:00:00Z"} for each in alerts])
                    deadline = time.monotonic() + 60
                    while len(server.received) <= len(told) and time.monotonic() < deadline:
                        time.sleep(0.05)
                    (part,) = server.received[-1].iter_parts()
                    told.append(part.get_content().replace("\r\n", "\n"))
        except Missing as error:
            missing("alertmanager", str(error))
    external = told[0].split("=__alertmanagerURL=\n")[1].split("/#/")[0]
    for said, states in zip(told, (("firing", "firing"), ("firing", "resolved"), ("resolved",)), strict=True):
        shown = [
            Alert(state, each["labels"], each.get("annotations", {}), ZERO, ZERO, each.get("generatorURL", ""))
            for each, state in zip(alerts, states, strict=False)
        ]
        expected = library(()).render(text, data("te am", shown, {"alertname": "A"}, external))
        assert expected == said.rstrip("\n")


def _dot_of(name: str) -> str:
    return ".Alerts" if name in ("__text_alert_list", "pagerduty.default.instances") else "."


def _post(url: str, alerts: list[dict[str, Any]]) -> None:
    body = json.dumps(alerts).encode()
    request = urllib.request.Request(f"{url}/api/v2/alerts", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=10).close()
