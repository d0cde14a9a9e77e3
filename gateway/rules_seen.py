"""Rules as people see them in a list: what each is, whether it works, when it last fired. Pure but for `Files`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from gateway.lists import sees
from gateway.principal import Principal
from gateway.rules import document
from schemas.alerts import NO_TENANT, AlertState, Status
from schemas.base import rfc3339
from schemas.rule_document import SHADOW, Mode, Rule
from schemas.tables import StoredRule
from streams.rules.ruleset import SHIPPED, Loader
from streams.rules.stored import FILE, read

FRESH_S = 5.0
STORED = "stored"


class OfFiles(NamedTuple):
    """`enabled`: those of a file that are evaluated; `others`: those that are not."""

    rules: list[Rule]
    errors: list[str]


class Files:
    """The rules of files this gateway can read: the shipped ones, and its own folder's."""

    def __init__(self, folder: str) -> None:
        self._loader = Loader(folder)
        self._known: tuple[float, OfFiles] = (0.0, OfFiles([], []))

    def load(self) -> OfFiles:
        """As they were a few seconds ago at most."""
        if time.monotonic() - self._known[0] > FRESH_S:
            rules = self._loader.load()
            self._known = time.monotonic(), OfFiles(list(rules.rules.values()), list(self._loader.errors))
        return self._known[1]


class Seen(NamedTuple):
    """`row` None: of a file. `rule` None: it cannot be read, `errors` say why."""

    rule_name: str
    tenant: str
    source: str
    rule: Rule | None
    row: StoredRule | None
    errors: list[str]
    firing: int
    last_fired_ms: int
    aside: str = ""
    """Why it was put aside (streams/rules/budget.py), if it is now."""

    def order(self) -> tuple[str, str]:
        return self.rule_name.lower(), self.tenant

    @property
    def state(self) -> str:
        if self.errors and self.rule is None:
            return "error"
        if self.rule is None:
            return "draft"
        if not self.rule.enabled:
            return "disabled"
        if self.errors:
            return "error"
        if self.aside:
            return "quarantined"
        return "shadow" if self.rule.mode is Mode.SHADOW else "ok"


def seen(
    rows: Iterable[StoredRule], files: OfFiles, alerts: Iterable[AlertState], who: Principal
) -> list[Seen]:  # fmt: skip
    """Every rule of `rows`, and to the platform's people those of `files`."""
    states = list(alerts)
    fired: dict[str, tuple[int, int]] = {}
    aside = {
        each.labels.get("rule", ""): each.annotations.get("summary", "") for each in states if _is_aside(each, who)
    }
    for alert in states:
        if alert.source.startswith("rule/") and sees(who, alert.tenant):
            count, last_ms = fired.get(alert.source, (0, 0))
            fired[alert.source] = count + (alert.state is Status.FIRING), max(last_ms, alert.starts_at_ms)
    out: list[Seen] = []
    taken = {rule.key: rule for rule in files.rules}
    for row in rows:
        found = read(document(row))
        rule = next((rule for rule in found.rules if not (row.draft and rule.key.endswith(SHADOW))), None)
        errors = [line.removeprefix(f"{FILE}/{row.tenant}/") for line in found.errors]
        other = taken.get(rule.key) if rule is not None else None
        if other is not None and other.file.startswith(f"{SHIPPED}/"):
            del taken[other.key]
        elif other is not None:
            errors.append(f"{row.name}: the name is taken in {other.file}:{other.line}")
        out.append(Seen(row.name, row.tenant, STORED, rule, row, errors, *_fired(fired, rule), _why(aside, rule)))
    if who.tenant == NO_TENANT:
        out += [Seen(r.name, r.tenant, r.file, r, None, [], *_fired(fired, r), _why(aside, r)) for r in taken.values()]
    return out


def _is_aside(alert: AlertState, who: Principal) -> bool:
    return alert.source == "rule-budget" and alert.state is Status.FIRING and sees(who, alert.tenant)


def _why(aside: dict[str, str], rule: Rule | None) -> str:
    return aside.get(rule.key, "") if rule is not None else ""


def _fired(fired: dict[str, tuple[int, int]], rule: Rule | None) -> tuple[int, int]:
    return fired.get(f"rule/{rule.key.removesuffix(SHADOW)}", (0, 0)) if rule is not None else (0, 0)


def item(each: Seen) -> dict[str, Any]:
    """One item of `GET /api/v1/rules`."""
    rule, row = each.rule, each.row
    return {
        "name": each.rule_name,
        "tenant": each.tenant,
        "source": each.source,
        "state": each.state,
        "errors": [*each.errors, *([each.aside] if each.aside else [])],
        "version": row.version if row is not None else 0,
        "draft": bool(row is not None and row.draft),
        "author": row.author if row is not None else "",
        "updated": rfc3339(row.updated_ms) if row is not None else "",
        "input": rule.input if rule is not None else "",
        "type": rule.type.value if rule is not None else "",
        "level": rule.level.value if rule is not None else "",
        "severity": rule.severity if rule is not None else "",
        "firing": each.firing,
        "last_fired": rfc3339(each.last_fired_ms) if each.last_fired_ms else "",
    }
