"""Loading an alertmanager.yml: the subset we serve, every complaint with file, line and field, nothing ignored.

What Alertmanager has and we do not is refused with what to write instead. Without a file the default below applies.
Meaning and checks follow alertmanager 0.25 config/config.go. Receivers: `streams/receivers.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import yaml

from schemas.alerting import ALL_LABELS, AlertingConfig, InhibitRule, Route
from schemas.alerts import Matcher
from schemas.notifications import Timing
from schemas.platform import Control
from streams import time_intervals
from streams.canary import with_canary
from streams.config_templates import read_templates
from streams.errors import Fatal
from streams.files import Files
from streams.matching import check, is_label_name, parse_matchers, render_all
from streams.policy_file import apply
from streams.receiver_mail import SMTP_FIELDS
from streams.receivers import Shared, receivers
from streams.settings import Settings
from streams.shown_config import shown
from streams.yaml_nodes import Errors, Node, read

DEFAULT = """\
route:
  receiver: mailbox
  group_by: [cluster, namespace]
  group_wait: 5s
  group_interval: 30s
  repeat_interval: 4h
receivers:
  - name: mailbox
    email_configs:
      - to: ops@eventsphere.local
        send_resolved: true
"""
CHANGED = "alerting.changed"
"""The control message that says: read it again."""
DEFAULT_NAME = "(default)"
_INTERVALS = ("time_intervals", "mute_time_intervals")
"""The second is the older name of the first."""


class WrongConfig(Fatal):
    """What is wrong with the configuration, one line each: `file:line: field: what is expected`. Ends a start."""

    def __init__(self, lines: str) -> None:
        super().__init__("wrong_alerting_config", lines)

    def __str__(self) -> str:
        return self.detail


def load(settings: Settings) -> AlertingConfig:
    """The configuration of `settings.alerting.config`, or the default, with the policies and the canary's route.

    Raises WrongConfig.
    """
    config = _of_file(settings.alerting.config, settings.smtp.url.get_secret_value())
    if settings.alerting.policies:
        config, wrong = apply(settings.alerting.policies, config)
        if wrong:
            raise WrongConfig(wrong)
    return with_canary(config)


def _of_file(path: str, smtp_url: str) -> AlertingConfig:
    if not path:
        return parse(DEFAULT, DEFAULT_NAME, smtp_url=smtp_url)
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongConfig(f"{path}: cannot be read: {error}") from None
    return parse(text, path, smtp_url=smtp_url)


class LiveConfig:
    """The configuration a worker goes by. A reload that fails keeps the one in use (the error goes to the log)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.current = load(settings)

    async def on_control(self, message: Control) -> bool:
        """Read the file again when it is said to have changed. Raises WrongConfig. Whether that was said."""
        if message.type != CHANGED:
            return False
        self.current = await asyncio.to_thread(load, self._settings)
        return True


def parse(text: str, name: str = "alertmanager.yml", *, smtp_url: str = "") -> AlertingConfig:
    """Read the text of a configuration; secret files are found relative to the folder of `name`. Raises WrongConfig."""
    errors = Errors(name)
    root = read(text, name, errors)
    if root is None:
        raise WrongConfig(str(errors))
    config = _config(root, Files(Path(name).parent))
    if errors:
        raise WrongConfig(str(errors))
    try:
        return msgspec.structs.replace(config, original=shown(text, smtp_url))
    except yaml.YAMLError as error:
        raise WrongConfig(f"{name}: not plain YAML: {error}") from None


def _config(root: Node, files: Files) -> AlertingConfig:
    fields = root.fields()
    for name in fields.keys() - {"global", "route", "receivers", "inhibit_rules", "templates", *_INTERVALS}:
        fields[name].fail("no such field")
    found = _global(fields["global"]) if "global" in fields else Global()
    shared = Shared(files, read_templates(fields.get("templates"), files.folder), found.smtp, found.slack)
    known = receivers(fields["receivers"], shared) if "receivers" in fields else []
    intervals = time_intervals.intervals([fields[name] for name in _INTERVALS if name in fields])
    if "route" not in fields or fields["route"].is_null:
        root.fail("no route: expected `route:` with at least a receiver")
        route = Route(receiver="")
    else:
        route = _root_route(fields["route"], Names({each.name for each in known}, {each.name for each in intervals}))
    inhibit = [_inhibit_rule(item) for item in fields["inhibit_rules"].items()] if "inhibit_rules" in fields else []
    return AlertingConfig(
        route=route,
        receivers=known,
        inhibit_rules=inhibit,
        time_intervals=intervals,
        resolve_timeout_ms=found.resolve_ms,
    )


class Global(NamedTuple):
    """`smtp`: fields without that prefix; `slack`: `api_url` or `api_url_file`."""

    resolve_ms: int = 300_000
    smtp: dict[str, Node] = {}
    slack: dict[str, Node] = {}


def _global(node: Node) -> Global:
    resolve_ms = Global().resolve_ms
    smtp, slack = {}, {}
    for name, field in node.fields().items():
        if name == "resolve_timeout":
            resolve_ms = field.duration_ms(resolve_ms)
        elif name.removeprefix("smtp_") in SMTP_FIELDS - {"tls_config"} and name.startswith("smtp_"):
            smtp[name.removeprefix("smtp_")] = field
        elif name in ("slack_api_url", "slack_api_url_file"):
            slack[name.removeprefix("slack_")] = field
        elif name == "http_config":
            field.fail("not supported for all receivers at once: write it at each webhook")
        else:
            field.fail("not supported: no receiver here uses it")
    return Global(resolve_ms, smtp, slack)


class Names(NamedTuple):
    """What routes may refer to."""

    receivers: set[str]
    intervals: set[str]


def _root_route(node: Node, names: Names) -> Route:
    fields = node.fields()
    for name in ("match", "match_re", "matchers", "continue"):
        if name in fields and not fields[name].is_null and fields[name].node.value not in ([], "false"):
            fields[name].fail("the root route takes every alert: not allowed here")
    for name in ("mute_time_intervals", "active_time_intervals"):
        if name in fields and not fields[name].is_null:
            fields[name].fail("the root route cannot be muted: put it on a route below")
    if "receiver" not in fields:
        node.fail("the root route must name a receiver")
    return _route(node, Route(receiver="", key=""), names)


def _route(node: Node, parent: Route, names: Names) -> Route:
    fields = node.fields()
    taken = {"receiver", "group_by", "match", "match_re", "matchers", "continue", "routes"}
    taken |= {"group_wait", "group_interval", "repeat_interval", "mute_time_intervals", "active_time_intervals"}
    for name in fields.keys() - taken:
        fields[name].fail("no such field")
    receiver = fields["receiver"].text() if "receiver" in fields else parent.receiver
    if "receiver" in fields and receiver not in names.receivers:
        known = ", ".join(sorted(names.receivers)) or "none"
        fields["receiver"].fail(f"no receiver named {receiver!r}; there are: {known}")
    own = _matchers(fields, "matchers", "match", "match_re")
    route = Route(
        receiver=receiver,
        key=(f"{parent.key}/" if parent.key else "") + render_all(own),
        matchers=own,
        group_by=(_group_by(fields["group_by"]) if "group_by" in fields else []) or parent.group_by,
        timing=_timing(fields, parent.timing),
        continue_="continue" in fields and fields["continue"].flag(),
        mute_time_intervals=_named(fields.get("mute_time_intervals"), names.intervals),
        active_time_intervals=_named(fields.get("active_time_intervals"), names.intervals),
    )
    children = [_route(child, route, names) for child in fields["routes"].items()] if "routes" in fields else []
    return msgspec.structs.replace(route, routes=children)


def _named(node: Node | None, known: set[str]) -> list[str]:
    """Names of time intervals."""
    out = []
    for item in node.items() if node else ():
        out.append(item.text())
        if out[-1] not in known:
            item.fail(f"no time interval named {out[-1]!r}; there are: {', '.join(sorted(known)) or 'none'}")
    return out


def _group_by(node: Node) -> list[str]:
    names: list[str] = []
    for item in node.items():
        name = item.text()
        if name != ALL_LABELS and not is_label_name(name):
            item.fail(f"{name[:100]!r} is not a label name")
        elif name in names:
            item.fail("given twice")
        names.append(name)
    if ALL_LABELS in names and len(names) > 1:
        node.fail("`...` stands for all labels: no other may stand beside it")
    return sorted(names)


def _timing(fields: dict[str, Node], parent: Timing) -> Timing:
    values = {}
    for name in ("group_wait", "group_interval", "repeat_interval"):
        values[name] = getattr(parent, f"{name}_ms")
        if name in fields:
            values[name] = fields[name].duration_ms(values[name])
            if values[name] == 0 and name != "group_wait":
                fields[name].fail("cannot be zero")
    return Timing(**{f"{name}_ms": value for name, value in values.items()})


def _matchers(fields: dict[str, Node], new: str, equal: str, regex: str) -> list[Matcher]:
    """Matchers of the new form (list of text) and of both old ones (mappings), sorted as Alertmanager sorts them."""
    out: list[Matcher] = []
    for item in fields[new].items() if new in fields else ():
        out += item.checked(parse_matchers, [])
    for name, is_regex in ((equal, False), (regex, True)):
        for label, node in fields[name].fields().items() if name in fields else ():
            out += node.checked(_old_matcher(label, is_regex), [])
    return sorted(out, key=lambda m: (m.name, m.value, m.is_regex, m.is_equal))


def _old_matcher(label: str, is_regex: bool) -> Callable[[str], list[Matcher]]:
    """Alertmanager writes the anchors of old regular expressions out, and so they stand in its group keys."""
    form = "^(?:{})$" if is_regex else "{}"
    return lambda value: [check(Matcher(name=label, value=form.format(value), is_regex=is_regex))]


def _inhibit_rule(node: Node) -> InhibitRule:
    fields = node.fields()
    taken = {f"{side}_{form}" for side in ("source", "target") for form in ("match", "match_re", "matchers")} | {
        "equal"
    }
    for name in fields.keys() - taken:
        fields[name].fail("no such field")
    source, target = (
        _matchers(fields, f"{side}_matchers", f"{side}_match", f"{side}_match_re") for side in ("source", "target")
    )
    equal = [item.text() for item in fields["equal"].items()] if "equal" in fields else []
    return InhibitRule(source=source, target=target, equal=equal)
