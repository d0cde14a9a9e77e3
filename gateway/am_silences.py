"""Silences in the words of Alertmanager's API v2: taken in, changed, given out. Pure.

Source of the rules: alertmanager 0.25 silence/silence.go (`canUpdate`, `expire`), api/v2/api.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from schemas.alerts import Matcher, Silence
from schemas.base import LAST_MS, UNREADABLE, digest, encode, parse_time, rfc3339
from schemas.headers import cloud_headers
from streams.matching import matches
from streams.muting import Phase, phase, wrong_matchers, wrong_silence
from streams.record import Outgoing

TOPIC = "silences"
MAX_MATCHERS = 64
MAX_TEXT = 8192
KEEP_MS = 120 * 3_600_000
"""How long an expired silence can still be looked up."""
_replace = msgspec.structs.replace


class PostedMatcher(msgspec.Struct):
    name: str
    value: str
    isRegex: bool  # noqa: N815 - the API's names
    isEqual: bool = True  # noqa: N815


class Posted(msgspec.Struct):
    matchers: list[PostedMatcher]
    startsAt: str  # noqa: N815
    endsAt: str  # noqa: N815
    createdBy: str  # noqa: N815
    comment: str = ""
    id: str | None = None


_decoder = msgspec.json.Decoder(Posted)


def read(body: bytes) -> Posted:
    """Raises ValueError."""
    try:
        posted = _decoder.decode(body)
    except UNREADABLE as error:
        raise ValueError(f"bad silence: {error}") from None
    if len(posted.matchers) > MAX_MATCHERS or max(len(posted.comment), len(posted.createdBy)) > MAX_TEXT:
        raise ValueError(f"at most {MAX_MATCHERS} matchers and {MAX_TEXT} characters of text are allowed")
    return posted


def wanted(posted: Posted, *, identity: str, tenant: str, cluster: str, now_ms: int) -> Silence:
    """The silence a caller asks for; one that should have begun already begins now. Raises ValueError."""
    starts, ends = parse_time(posted.startsAt), min(parse_time(posted.endsAt), LAST_MS)
    silence = Silence(
        id=identity,
        matchers=sorted(
            (Matcher(name=m.name, value=m.value, is_regex=m.isRegex, is_equal=m.isEqual) for m in posted.matchers),
            key=lambda m: (m.name, m.value, m.is_regex, m.is_equal),
        ),
        starts_at_ms=max(starts, now_ms),
        ends_at_ms=ends,
        created_by=posted.createdBy,
        comment=posted.comment,
        updated_at_ms=now_ms,
        tenant=tenant,
        cluster=cluster,
    )
    if starts >= ends:
        raise ValueError("Failed to create silence: start time must be before end time")
    if ends < now_ms:
        raise ValueError("Failed to create silence: end time can't be in the past")
    if wrong := wrong_silence(silence):
        raise ValueError(f"silence invalid: {wrong}")
    return silence


def changed(old: Silence, new: Silence, *, starts_at_ms: int, identity: str) -> list[Silence]:
    """What to write to turn `old` into `new`: itself changed where that is allowed, else it ends and another begins.

    `starts_at_ms`: the start as it was posted; `identity`: the id of the other one.
    """
    now_ms = new.updated_at_ms
    current = phase(old, now_ms)
    same = old.matchers == new.matchers and current is not Phase.EXPIRED
    if current is Phase.ACTIVE and starts_at_ms // 1000 != old.starts_at_ms // 1000:
        same = False
    if current is Phase.PENDING and starts_at_ms < now_ms:
        same = False
    if same:
        starts = old.starts_at_ms if current is Phase.ACTIVE else new.starts_at_ms
        return [_replace(new, id=old.id, starts_at_ms=starts)]
    other = _replace(new, id=identity)
    return [other] if current is Phase.EXPIRED else [expired(old, now_ms), other]


def expired(silence: Silence, now_ms: int) -> Silence:
    """It, ended now."""
    starts = min(silence.starts_at_ms, now_ms)
    return _replace(silence, starts_at_ms=starts, ends_at_ms=now_ms, updated_at_ms=now_ms)


def forgettable(silences: Iterable[Silence], now_ms: int) -> list[str]:
    return [silence.id for silence in silences if silence.ends_at_ms + KEEP_MS < now_ms]


def outgoing(silence: Silence) -> Outgoing:
    headers = cloud_headers(
        topic=TOPIC,
        id=digest(silence.id, str(silence.updated_at_ms)),
        type="silence.changed",
        source="eventsphere/gateway",
        time_ms=silence.updated_at_ms,
        subject=silence.id,
    )
    return Outgoing(TOPIC, encode(silence), silence.id.encode(), headers, silence.updated_at_ms)


def document(silence: Silence, now_ms: int) -> dict[str, Any]:
    return {
        "id": silence.id,
        "status": {"state": phase(silence, now_ms).value},
        "updatedAt": rfc3339(silence.updated_at_ms),
        "comment": silence.comment,
        "createdBy": silence.created_by,
        "endsAt": rfc3339(silence.ends_at_ms),
        "matchers": [
            {"isEqual": m.is_equal, "isRegex": m.is_regex, "name": m.name, "value": m.value} for m in silence.matchers
        ],
        "startsAt": rfc3339(silence.starts_at_ms),
    }


def listed(silences: Iterable[Silence], matchers: Sequence[Matcher], now_ms: int) -> list[dict[str, Any]]:
    """Those whose own matchers, taken as labels, match: active first, then pending, then expired.

    What cannot hold is not among them: no client could show it, or send it back."""
    found = [
        each
        for each in silences
        if not wrong_matchers(each) and matches(matchers, {m.name: m.value for m in each.matchers})
    ]
    return [document(each, now_ms) for each in sorted(found, key=lambda each: _order(each, now_ms))]


def _order(silence: Silence, now_ms: int) -> tuple[int, int]:
    current = phase(silence, now_ms)
    if current is Phase.ACTIVE:
        return (0, silence.ends_at_ms)
    return (1, silence.starts_at_ms) if current is Phase.PENDING else (2, -silence.ends_at_ms)
