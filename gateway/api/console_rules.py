"""Console pages of rules: which there are and how they do, and an editor that tries a rule on real data."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup

from gateway import rules, rules_trials
from gateway.api.rules import all_seen, change_of, changed, shadow_of, version_shown
from gateway.documents import as_indexed
from gateway.lists import Cursor, Text, of_memory
from gateway.pages import PageRoute, Sent, Viewer, sent, viewer
from gateway.problems import Problem
from gateway.rules_seen import Seen, item
from gateway.rules_trials import PREVIEW, Trials
from schemas.tables import StoredRule
from streams.rules.ruleset import SHIPPED, shipped

router = APIRouter(include_in_schema=False, route_class=PageRoute)

A_PAGE, SHOWN = 200, 50
PILLS = {"ok": "good", "error": "bad", "quarantined": "bad", "disabled": "", "draft": "warning", "shadow": "warning"}
NEW = """\
alert: TooManyErrors
input: logs
where: level == "error"
level: workload
count: 10
within: 5m
severity: warning
annotations:
  summary: "{{ count }} errors of {{ labels.workload }} within {{ within }}"
"""
_ENABLED = re.compile(r"^enabled:.*\n?", re.MULTILINE)


@router.get("/rules")
async def list_rules(
    request: Request,
    view: Annotated[Viewer, viewer("rules:read")],
    q: Text = "",
    state: Text = "",
    cursor: Cursor = "",
) -> Response:
    found = [each for each in await all_seen(request, view.kit, view.who) if q.lower() in each.rule_name.lower()]
    counts = Counter(each.state for each in found)
    wanted = [each for each in found if state in ("", each.state)]
    page = of_memory(wanted, order=Seen.order, reverse=False, limit=A_PAGE, cursor=cursor, show=item).model_dump()
    return view.page(
        "rules.html",
        asked={"q": q, "state": state},
        page=page,
        counts=dict(sorted(counts.items())),
        pills=PILLS,
        may_write=view.who.may("rules:write"),
    )


@router.get("/rules/new")
async def new_rule(view: Annotated[Viewer, viewer("rules:write")]) -> Response:
    return _page(view, name="", tenant=view.who.tenant, text=NEW)


@router.get("/rules/{name}")
async def one_rule(
    name: str, request: Request, view: Annotated[Viewer, viewer("rules:read")], tenant: str = "", edit: str = ""
) -> Response:
    key = rules.key_of(view.who, name, tenant)
    return _page(view, **await _known(request, view, key, draft=edit == "draft"))


@router.post("/rules/try")
async def try_rule(request: Request, data: Annotated[Sent, sent("rules:read")]) -> Response:
    """The same page with what came of it; nothing is stored."""
    view, fields = data
    key = rules.key_of(view.who, fields.get("name", ""), fields.get("tenant", ""))
    known = await _known(request, view, key, missing_ok=True)
    text = _unix(fields.get("text", ""))
    minutes = min(1440, max(1, int(fields["minutes"]))) if fields.get("minutes", "").isdecimal() else 15
    known |= {"text": text, "minutes": minutes, "version": fields.get("version") or known.get("version", 0)}
    draft = rules_trials.drafted(text, key.tenant)
    if draft.errors:
        return _page(view, **known, problems=rules.wrong(draft.errors).extensions["errors"])
    result = await _tried(request, view, draft, fields.get("do", ""), minutes)
    return _page(view, **known, result=result)


@router.post("/rules/save")
async def save(request: Request, data: Annotated[Sent, sent("rules:write")]) -> Response:
    view, fields = data
    text, draft = _unix(fields.get("text", "")), fields.get("as") == "draft"
    key = rules.key_of(view.who, fields.get("name", ""), fields.get("tenant", ""))
    try:
        key = rules.Key(key.tenant, rules.checked(text, key if key.name else key.tenant).name)
        row = await _save(request, view, key, text, fields.get("version", ""), draft=draft)
    except Problem as problem:
        known = await _known(request, view, key, missing_ok=True)
        told = problem.extensions.get("errors") or [{"line": 1, "at": "", "reason": problem.detail}]
        answer = _page(view, **(known | {"text": text, "version": fields.get("version", 0)}), problems=told)
        answer.status_code = problem.status_code
        return answer
    return _to(row, "saved")


@router.post("/rules/enable")
async def enable(request: Request, data: Annotated[Sent, sent("rules:write")]) -> Response:
    """Turn the live version on or off: its line `enabled`."""
    view, fields = data
    key = rules.key_of(view.who, fields.get("name", ""), fields.get("tenant", ""))
    row = await view.kit.accounts.work(lambda session: rules.one(session, key))
    if row.text.startswith("groups:") or "\ngroups:" in row.text:
        raise Problem(409, "That cannot be", "Write `enabled: false` into the rule itself: it is kept as a rule file.")
    on = fields.get("enabled") == "true"
    text = _ENABLED.sub("", row.text).rstrip("\n") + ("\n" if on else "\nenabled: false\n")
    rules.checked(text, key)
    change = change_of(view.kit, view.who, key, "enable" if on else "disable")
    row = await view.kit.accounts.work(lambda session: rules.update(session, change, text))
    await changed(request, row, change.verb, None)
    return _to(row, "saved")


@router.post("/rules/draft")
async def settle_draft(request: Request, data: Annotated[Sent, sent("rules:write")]) -> Response:
    view, fields = data
    key = rules.key_of(view.who, fields.get("name", ""), fields.get("tenant", ""))
    verb = "promote" if fields.get("do") == "promote" else "discard"
    change = change_of(view.kit, view.who, key, verb)
    row = await view.kit.accounts.work(
        lambda session: rules.promote(session, change) if verb == "promote" else rules.put_draft(session, change, "")
    )
    await changed(request, row, verb, None)
    return _to(row, "saved")


@router.post("/rules/rollback")
async def roll_back(request: Request, data: Annotated[Sent, sent("rules:write")]) -> Response:
    view, fields = data
    key = rules.key_of(view.who, fields.get("name", ""), fields.get("tenant", ""))
    number = int(fields["version"]) if fields.get("version", "").isdecimal() else 0
    old = await view.kit.accounts.work(lambda session: rules.version(session, key, number))
    rules.checked(old.text, key)
    change = change_of(view.kit, view.who, key, "rollback")
    row = await view.kit.accounts.work(lambda session: rules.rollback(session, change, number))
    await changed(request, row, "rollback", None)
    return _to(row, "saved")


@router.post("/rules/delete")
async def delete(request: Request, data: Annotated[Sent, sent("rules:write")]) -> Response:
    view, fields = data
    key = rules.key_of(view.who, fields.get("name", ""), fields.get("tenant", ""))
    change = change_of(view.kit, view.who, key, "delete")
    row = await view.kit.accounts.work(lambda session: rules.remove(session, change))
    await changed(request, row, "delete", None)
    return RedirectResponse("/rules?done=forgotten", 303)


async def _save(
    request: Request, view: Viewer, key: rules.Key, text: str, version: str, *, draft: bool
) -> StoredRule:  # fmt: skip
    kit = view.kit
    before = await kit.accounts.work(lambda session: session.get(StoredRule, key))
    if before is None or before.deleted:
        change = change_of(kit, view.who, key, "create")
        row = await kit.accounts.work(lambda session: rules.create(session, change, text, draft=draft))
    else:
        expected = int(version) if version.isdecimal() and version != "0" else -1
        change = change_of(kit, view.who, key, "draft" if draft else "update", expected)
        put = rules.put_draft if draft else rules.update
        row = await kit.accounts.work(lambda session: put(session, change, text))
    await changed(request, row, change.verb, before)
    return row


async def _known(
    request: Request, view: Viewer, key: rules.Key, *, draft: bool = False, missing_ok: bool = False
) -> dict[str, Any]:
    """What the page says of a rule, stored or of a file. Raises 404 for one there is not."""
    found = [each for each in await all_seen(request, view.kit, view.who) if each.rule_name == key.name]
    seen = next((each for each in found if each.tenant == key.tenant), None)
    known: dict[str, Any] = {"name": key.name, "tenant": key.tenant}
    if seen is None:
        if missing_ok:
            return known
        raise Problem(404, "Not found", f"There is no rule {key.name[:100]}.")
    known["state"] = seen.state
    row = seen.row
    if row is None:
        return known | {"text": _of_file(seen), "source": seen.source}
    versions = await view.kit.accounts.work(lambda session: rules.versions(session, key))
    draft = (draft or not row.text) and bool(row.draft)
    known |= {"text": row.draft if draft else row.text, "editing": "draft" if draft else "live"}
    known |= {"version": row.version, "has_live": bool(row.text), "has_draft": bool(row.draft)}
    if row.draft or seen.state == "shadow":
        known["shadow"] = await shadow_of(view.kit, key)
    return known | {"versions": [version_shown(each) for each in versions]}


def _of_file(seen: Seen) -> str:
    """The text of a rule of a file: the lines from its own to the next one's."""
    rule = seen.rule
    text = next((each.text for each in shipped() if rule is not None and each.name == rule.file), "")
    if rule is None or not text:
        return f"# It is in {seen.source.removeprefix(SHIPPED)}\n"
    lines = text.splitlines()[rule.line - 1 :]
    indent = len(lines[0]) - len(lines[0].lstrip())
    own = [lines[0].replace("- ", "  ", 1)]
    for line in lines[1:]:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        own.append(line)
    return "\n".join(line[indent + 2 :] if line.startswith("  ") else line for line in own).strip("\n") + "\n"


async def _tried(
    request: Request, view: Viewer, draft: rules_trials.Draft, what: str, minutes: int
) -> dict[str, Any]:  # fmt: skip
    trials: Trials = request.app.state.trials
    out: dict[str, Any] = {"lines": [], "tests": [], "alerts": [], "examples": [], "picture": ""}
    if what == "test":
        ran = await trials.run(lambda: rules_trials.run_tests(draft.written, 3))
        failed = sum(bool(each.failures) for each in ran)
        lines = [] if ran else ["The rule has no tests."]
        return out | {"title": f"{len(ran)} tests, {failed} failed", "lines": lines, "tests": ran}
    if what == "preview":
        now = view.kit.clock()
        found = await trials.play(draft.rules, now - minutes * 60_000, now, PREVIEW)
        told = rules_trials.shown(found, SHOWN)
        title = f"{told['total']} alerts; {found.matched} of {found.read} records match"
        picture = rules_trials.timeline(found.episodes, found.from_ms, found.until_ms)
        examples = rules_trials.examples(found, view.who, 5, as_indexed(request))
        # The picture is ours, with everything of the records in it escaped.
        return out | {"title": title, "alerts": told["alerts"], "examples": examples, "picture": Markup(picture)}  # noqa: S704
    named = ", ".join(f"{rule.name} ({rule.type}, {rule.input})" for rule in draft.rules)
    return out | {"title": "All right", "lines": [named]}


def _page(view: Viewer, **known: Any) -> Response:
    usual: dict[str, Any] = {
        "state": "", "version": 0, "source": "", "editing": "", "has_live": False, "has_draft": False, "shadow": None,
        "versions": [], "problems": [], "result": None, "minutes": 15, "text": "", "pills": PILLS,
        "may_write": view.who.may("rules:write"),
    }  # fmt: skip
    return view.page("rule.html", **(usual | known))


def _to(row: StoredRule, done: str) -> RedirectResponse:
    return RedirectResponse(f"/rules/{quote(row.name)}?tenant={quote(row.tenant)}&done={done}", 303)


def _unix(text: str) -> str:
    """A browser sends line ends as CRLF."""
    return text.replace("\r\n", "\n")
