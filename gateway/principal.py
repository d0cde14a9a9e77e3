"""Who is calling, and what scopes let through. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from schemas.alerts import NO_TENANT
from schemas.catalogue import catalogue

ADMIN = "*"
_SCOPE = re.compile(r"\*|[a-z]+:(?:read|write|\*)|topics:(?:\*|[a-z0-9.-]+):(?:read|write|\*)")
KNOWN = frozenset(
    {"alerts", "audit", "connectors", "dlq", "events", "gaps", "ledger", "logs", "mailbox", "metrics", "notifications"}
    | {"pipelines", "rules", "silences", "status", "tokens", "topics", "traces"}
)


@dataclass(frozen=True, slots=True)
class Principal:
    """An account or a machine token. `scopes` are what it may do; an admin may do everything."""

    name: str
    tenant: str = NO_TENANT
    scopes: frozenset[str] = frozenset()
    is_admin: bool = False
    session: str = ""
    """Id of the token it came with, so that it can be revoked."""

    @property
    def token(self) -> str:
        """Id of the machine token, empty for a person."""
        return self.session if self.name.startswith("token/") else ""

    @property
    def key(self) -> str:
        """What tells callers apart: names of tokens are not unique."""
        return self.token or self.name

    def may(self, scope: str) -> bool:
        return self.is_admin or any(covers(held, scope) for held in self.scopes)


def covers(held: str, wanted: str) -> bool:
    """Whether scope `held` includes `wanted`: part by part, `*` standing for any one part (alone: for everything)."""
    if held == ADMIN:
        return True
    ours, theirs = held.split(":"), wanted.split(":")
    return len(ours) == len(theirs) and all(mine in ("*", part) for mine, part in zip(ours, theirs, strict=True))


def wrong_scope(scope: str) -> str:
    """Why `scope` cannot be given to a token, or an empty text when it can."""
    if not _SCOPE.fullmatch(scope):
        return f"{scope!r}: expected <what>:read|write or topics:<topic>:read|write"
    what, *rest = scope.split(":")
    if what != ADMIN and what not in KNOWN:
        return f"{scope!r}: no such scope; expected one of {', '.join(sorted(KNOWN))}"
    if what == "topics" and len(rest) == 2 and rest[0] != "*":
        topic = catalogue().get(rest[0])
        if topic is None:
            return f"{scope!r}: no topic {rest[0]!r} in the catalogue"
        if not topic.public:
            return f"{scope!r}: {rest[0]} is internal"
    return ""
