"""What a bulk reply says of each record: stored, to be sent again, or refused. Pure.

A reply of 200 says nothing about its items; each has a status of its own. A `create` answered 409 is stored already.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from streams.errors import Retryable

STORED = frozenset({200, 201, 409})
REFUSED = frozenset({400, 413})
"""The document itself is at fault; anything else is about the server's state and passes."""
STATE = frozenset({"validation_exception", "index_closed_exception", "invalid_index_name_exception"})
"""Answered with 400 all the same: no shard may be added, the index is closed. They are no document's fault."""
_FIELD = re.compile(r"(?:field|mapping for|name:?) \[([^\]]{1,100})\]")
FILTER = "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason"
"""`filter_path` of bulk requests: every item keeps a status, so that their order still tells which is which."""
CLEAN = re.compile(rb'\{("(took|ingest_took)":\d+,)*"errors":false')
"""How a bulk reply begins that need not be read any further."""


class Cause(msgspec.Struct):
    type: str = ""
    reason: str = ""
    caused_by: Cause | None = None


class Item(msgspec.Struct):
    status: int
    error: Cause | str | None = None


class Reply(msgspec.Struct):
    errors: bool
    items: list[dict[str, Item]] = []


class Verdict(NamedTuple):
    again: dict[int, str]
    """Positions to be sent again, and why."""
    refused: dict[int, str]
    """Positions whose document was refused, and why."""


NONE = Verdict({}, {})


def judge(reply: Any, positions: Sequence[int]) -> Verdict:
    """What became of the records at `positions`. Raises Retryable when the reply is not one about them."""
    try:
        known = msgspec.convert(reply, Reply)
    except msgspec.ValidationError as error:
        raise Retryable("index_reply", f"not a bulk reply: {error}") from None
    if not known.errors:
        return NONE
    if len(known.items) != len(positions):
        raise Retryable("index_reply", f"{len(known.items)} items in the reply to {len(positions)}")
    verdict = Verdict({}, {})
    for position, item in zip(positions, known.items, strict=True):
        result = next(iter(item.values()), Item(status=500))
        if result.status not in STORED:
            (verdict.refused if _is_refused(result) else verdict.again)[position] = _why(result)
    return verdict


def field_of(why: str) -> str:
    """The field a refusal is about, as far as it says so."""
    match = _FIELD.search(why)
    return match[1] if match else ""


def _is_refused(item: Item) -> bool:
    kind = item.error.type if isinstance(item.error, Cause) else ""
    return item.status in REFUSED and kind not in STATE


def _why(item: Item) -> str:
    cause = item.error
    text = str(cause or "")
    if isinstance(cause, Cause):
        beneath = f"; {cause.caused_by.reason}" if isinstance(cause.caused_by, Cause) else ""
        text = f"{cause.type}: {cause.reason}{beneath}"
    return f"{item.status} {text}"[:500]
