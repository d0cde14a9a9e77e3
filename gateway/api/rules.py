"""`/api/v1/rules`: rules stored in the database, with their versions, and those of files beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway import rules, rules_shadow
from gateway.deps import Kit, Principal, audit, need
from gateway.lists import Cursor, Limit, Page, Text, of_memory, tenants
from gateway.problems import Problem, bad_parameter
from gateway.rules_following import Following
from gateway.rules_seen import Files, Seen, item, seen
from gateway.services import Services
from schemas.base import rfc3339
from schemas.rule_document import SHADOW, Mode
from schemas.tables import NAME_LENGTH, RULE_BYTES, RuleVersion, StoredRule
from streams.rules.stored import read

router = APIRouter(tags=["rules"], prefix="/api/v1/rules")

Reader = Annotated[Principal, Depends(need("rules:read"))]
Writer = Annotated[Principal, Depends(need("rules:write"))]
Tenant = Annotated[str, Query(max_length=NAME_LENGTH, description="Whose (the platform's people): default one's own.")]
Expected = Annotated[int, Query(ge=-1, description="409 unless it is at this version; -1: whatever it is at.")]
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/plain")


class NewRule(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, max_length=RULE_BYTES, description="The rule, as YAML; kept as it is written.")


class Back(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=1, description="The version whose text is to be the live one again.")


class RuleOut(BaseModel):
    """`published`: whether the workers' topic has it already; else it goes there within seconds of Kafka's return."""

    tenant: str
    name: str
    version: int
    text: str
    draft: str
    author: str
    created: str
    updated: str
    published: bool = True


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    following = Following(app.state.services)
    app.state.rules = following
    app.state.rule_files = Files(app.state.services.settings.rules.dir)
    running = asyncio.create_task(following.run(), name="rules")
    try:
        yield
    finally:
        running.cancel()
        await following.close()
        await asyncio.gather(running, return_exceptions=True)


async def _text(request: Request) -> str:
    """The YAML of a body: as it is, or as `text` of a JSON object."""
    body = await request.body()
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() in YAML_TYPES:
        try:
            return body.decode()
        except UnicodeDecodeError as error:
            raise bad_parameter("text", f"not UTF-8: {error}") from None
    try:
        return NewRule.model_validate_json(body).text
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise bad_parameter(".".join(map(str, first["loc"])) or "text", first["msg"]) from None


Written = Annotated[str, Depends(_text)]
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/yaml": {"schema": {"type": "string"}},
            "application/json": {"schema": NewRule.model_json_schema()},
        },
    }
}


@router.get("")
async def list_rules(
    request: Request, kit: Kit, who: Reader, q: Text = "", limit: Limit = 100, cursor: Cursor = ""
) -> Page:
    """Stored rules and those of files, by name: state, versions, when each last fired. `q`: part of the name."""
    found = [each for each in await all_seen(request, kit, who) if q.lower() in each.rule_name.lower()]
    return of_memory(found, order=Seen.order, reverse=False, limit=limit, cursor=cursor, show=item)


@router.post("", status_code=201, openapi_extra=BODY)
async def create_rule(
    request: Request, kit: Kit, who: Writer, text: Written, tenant: Tenant = "", draft: bool = False
) -> RuleOut:
    """Store a new rule. `draft`: evaluated in shadow mode only, until it is promoted."""
    key = rules.key_of(who, "", tenant)
    rule = rules.checked(text, key.tenant)
    change = change_of(kit, who, rules.Key(key.tenant, rule.name), "create")
    row = await kit.accounts.work(lambda session: rules.create(session, change, text, draft=draft))
    return await changed(request, row, "create", None)


@router.get("/{name}")
async def get_rule(name: str, kit: Kit, who: Reader, tenant: Tenant = "") -> RuleOut:
    """A stored rule as it was written."""
    key = rules.key_of(who, name, tenant)
    return shown(await kit.accounts.work(lambda session: rules.one(session, key)))


@router.put("/{name}", openapi_extra=BODY)
async def put_rule(
    name: str, request: Request, kit: Kit, who: Writer, text: Written, tenant: Tenant = "", version: Expected = -1,
    draft: bool = False,
) -> RuleOut:  # fmt: skip
    """Change a rule, or store a new one. `draft`: beside the live version, which stays as it is."""
    key = rules.key_of(who, name, tenant)
    rules.checked(text, key)
    before = await kit.accounts.work(lambda session: session.get(StoredRule, key))
    if before is None or before.deleted:
        verb, change = "create", change_of(kit, who, key, "create", version)
        row = await kit.accounts.work(lambda session: rules.create(session, change, text, draft=draft))
    else:
        verb = "draft" if draft else "update"
        change, put = change_of(kit, who, key, verb, version), rules.put_draft if draft else rules.update
        row = await kit.accounts.work(lambda session: put(session, change, text))
    return await changed(request, row, verb, before)


@router.delete("/{name}", status_code=204)
async def delete_rule(
    name: str, request: Request, kit: Kit, who: Writer, tenant: Tenant = "", version: Expected = -1
) -> Response:
    """Its alerts end; its versions stay, so that it can be brought back."""
    change = change_of(kit, who, rules.key_of(who, name, tenant), "delete", version)
    row = await kit.accounts.work(lambda session: rules.remove(session, change))
    await changed(request, row, "delete", row)
    return Response(status_code=204)


@router.get("/{name}/versions")
async def list_versions(name: str, kit: Kit, who: Reader, tenant: Tenant = "") -> Page:
    """What it was after each change, newest first, also when it was deleted."""
    key = rules.key_of(who, name, tenant)
    found = await kit.accounts.work(lambda session: rules.versions(session, key))
    if not found:
        raise Problem(404, "Not found", f"there never was a stored rule {name[:NAME_LENGTH]}")
    return Page(items=[version_shown(each) for each in found], total=len(found))


@router.post("/{name}/rollback")
async def roll_back(
    name: str, body: Back, request: Request, kit: Kit, who: Writer, tenant: Tenant = "", version: Expected = -1
) -> RuleOut:
    """Make an earlier text the live one again, as a new version; also of a deleted rule."""
    key = rules.key_of(who, name, tenant)
    old = await kit.accounts.work(lambda session: rules.version(session, key, body.version))
    if old.text:
        rules.checked(old.text, key)
    change = change_of(kit, who, key, "rollback", version)
    row = await kit.accounts.work(lambda session: rules.rollback(session, change, body.version))
    return await changed(request, row, "rollback", None)


@router.post("/{name}/promote")
async def promote(
    name: str, request: Request, kit: Kit, who: Writer, tenant: Tenant = "", version: Expected = -1
) -> RuleOut:
    """The draft becomes the live version."""
    change = change_of(kit, who, rules.key_of(who, name, tenant), "promote", version)
    row = await kit.accounts.work(lambda session: rules.promote(session, change))
    return await changed(request, row, "promote", None)


@router.delete("/{name}/draft")
async def discard_draft(
    name: str, request: Request, kit: Kit, who: Writer, tenant: Tenant = "", version: Expected = -1
) -> RuleOut:
    """The live version stays as it is."""
    change = change_of(kit, who, rules.key_of(who, name, tenant), "discard", version)
    row = await kit.accounts.work(lambda session: rules.put_draft(session, change, ""))
    return await changed(request, row, "discard", None)


@router.get("/{name}/shadow")
async def shadow(name: str, kit: Kit, who: Reader, tenant: Tenant = "") -> dict[str, Any]:
    """What the draft (or a rule of `mode: shadow`) said beside the live version since it is there: alerts of one alone,
    those that differ, and how many are the same."""
    return await shadow_of(kit, rules.key_of(who, name, tenant))


async def shadow_of(kit: Services, key: rules.Key) -> dict[str, Any]:
    """Raises 404 when nothing of the rule is in shadow mode."""
    row = await kit.accounts.work(lambda session: rules.one(session, key))
    versions = await kit.accounts.work(lambda session: rules.versions(session, key))
    found = read(rules.document(row)).rules
    tried = next((rule for rule in found if rule.mode is Mode.SHADOW), None)
    if tried is None:
        raise Problem(404, "Not found", f"{key.name} has no draft, and is not in shadow mode")
    since = rules_shadow.since_ms(versions)
    observed = await rules_shadow.observations(kit.cluster, kit.reader, tried.key.removesuffix(SHADOW), since)
    seen_since = rules_shadow.difference(*observed, rules_shadow.own_labels(found), since)
    about = {"name": row.name, "tenant": row.tenant, "version": row.version, "since": rfc3339(since)}
    return about | {"live": bool(row.text) and len(found) > 1} | rules_shadow.shown(seen_since)


async def all_seen(request: Request, kit: Services, who: Principal) -> list[Seen]:
    """Every rule the caller may see."""
    rows = await kit.accounts.work(lambda session: rules.listed(session, tenants(who)))
    files: Files = request.app.state.rule_files
    return seen(rows, await asyncio.to_thread(files.load), kit.views.alerts.values(), who)


def shown(row: StoredRule, *, published: bool = True) -> RuleOut:
    return RuleOut(
        tenant=row.tenant,
        name=row.name,
        version=row.version,
        text=row.text,
        draft=row.draft,
        author=row.author,
        created=rfc3339(row.created_ms),
        updated=rfc3339(row.updated_ms),
        published=published,
    )


def version_shown(row: RuleVersion) -> dict[str, Any]:
    return {
        "version": row.version,
        "verb": row.verb,
        "author": row.author,
        "at": rfc3339(row.at_ms),
        "text": row.text,
        "draft": row.draft,
    }


def change_of(kit: Services, who: Principal, key: rules.Key, verb: str, expected: int = -1) -> rules.Change:
    return rules.Change(key, verb, who.name, kit.clock(), expected)


async def changed(request: Request, row: StoredRule, verb: str, before: StoredRule | None) -> RuleOut:
    """Audit a change and tell the workers of it."""
    said: dict[str, Any] = {"after": {"version": row.version, "text": row.text, "draft": row.draft}}
    if before is not None and before is not row:
        said["before"] = {"version": before.version, "text": before.text, "draft": before.draft}
    audit(request, verb=verb, object=f"rule/{row.tenant}/{row.name}", **said)
    following: Following = request.app.state.rules
    return shown(row, published=await following.tell(row))
