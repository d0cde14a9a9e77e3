"""`POST /api/v1/rules/check|test|preview|backtest`: rules before they are enabled. Nothing is sent, nothing changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field

from gateway import rules_trials, times
from gateway.backtest import Bounds
from gateway.deps import Clock, Principal, audit, need
from gateway.documents import as_indexed
from gateway.problems import bad_parameter
from gateway.rules import wrong
from gateway.rules_trials import BACKTEST, PREVIEW, Draft, Trials, drafted
from schemas.tables import RULE_BYTES
from streams.errors import Invalid

router = APIRouter(tags=["rules"], prefix="/api/v1/rules")

Reader = Annotated[Principal, Depends(need("rules:read"))]
MAX_SPAN_MS = 31 * 86_400_000
MAX_ALERTS = 1000


class Text(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, max_length=RULE_BYTES, description="A rule, or a rule file, as YAML.")


class Tests(Text):
    perturb: int = Field(0, ge=0, le=50, description="Also so many times with records spread, repeated, read again.")


class Asked(Text):
    minutes: int = Field(15, ge=1, le=1440, description="Over the records of so many minutes.")
    records: int = Field(PREVIEW.records, ge=1, le=500_000, description="At most so many of the newest.")
    examples: int = Field(10, ge=0, le=100, description="How many of the records that match are shown.")


class AskedBack(Text):
    since: str = Field("-24h", max_length=64, description="RFC 3339, ms, or like -24h; at most 31 days.")
    records: int = Field(BACKTEST.records, ge=1, le=5_000_000)
    picture: bool = Field(False, description="Also `picture`: the timeline as SVG.")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.trials = Trials(app.state.services.settings.kafka)
    yield


@router.post("/check")
async def check_rules(body: Text, request: Request, who: Reader) -> dict[str, Any]:
    """Everything that is wrong with a text: line, field, what is expected."""
    audit(request, verb="check", object="rules")
    draft = drafted(body.text, who.tenant)
    rules = [rules_trials.shown_rule(rule) for rule in draft.written]
    errors = wrong(draft.errors).extensions["errors"] if draft.errors else []
    return {"ok": not draft.errors, "rules": rules, "errors": errors}


@router.post("/test")
async def test_rules(body: Tests, request: Request, who: Reader) -> dict[str, Any]:
    """Run the `tests` of rules: records over time, and the alerts they must make."""
    audit(request, verb="test", object="rules")
    draft = _sound(body.text, who)
    ran = await trials(request).run(lambda: rules_trials.run_tests(draft.written, body.perturb))
    items = [each._asdict() | {"ok": not each.failures} for each in ran]
    failed = sum(not each["ok"] for each in items)
    return {"ok": failed == 0, "passed": len(items) - failed, "failed": failed, "items": items}


@router.post("/preview")
async def preview_rules(body: Asked, request: Request, clock: Clock, who: Reader) -> dict[str, Any]:
    """Which alerts rules would have made of the last minutes, and some of the records they match. `from`: since when
    all records were looked at; a tenant's caller plays its own records only."""
    audit(request, verb="preview", object="rules")
    draft, now = _sound(body.text, who), clock()
    bounds = PREVIEW._replace(records=body.records)
    result = await trials(request).play(draft.rules, now - body.minutes * 60_000, now, bounds)
    shape = as_indexed(request)
    return rules_trials.shown(result, MAX_ALERTS) | {
        "examples": rules_trials.examples(result, who, body.examples, shape)
    }


@router.post("/backtest")
async def backtest_rules(body: AskedBack, request: Request, clock: Clock, who: Reader) -> dict[str, Any]:
    """Which alerts there would have been since a time, when and for how long."""
    audit(request, verb="backtest", object="rules")
    draft, now = _sound(body.text, who), clock()
    since = times.parse("since", body.since, now)
    if not now - MAX_SPAN_MS <= since < now:
        raise bad_parameter("since", "expected a time of the last 31 days")
    bounds: Bounds = BACKTEST._replace(records=body.records)
    result = await trials(request).play(draft.rules, since, now, bounds)
    out = rules_trials.shown(result, MAX_ALERTS)
    if body.picture:
        out["picture"] = rules_trials.timeline(result.episodes, result.from_ms, result.until_ms, alone=True)
    return out


def trials(request: Request) -> Trials:
    found: Trials = request.app.state.trials
    return found


def _sound(text: str, who: Principal) -> Draft:
    """Raises 422 with all that is wrong."""
    draft = drafted(text, who.tenant)
    if draft.errors:
        raise wrong(draft.errors)
    if not draft.rules:
        raise Invalid("rules", "there is no rule in it")
    return draft
