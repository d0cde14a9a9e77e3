"""Machine tokens: `est_<id>_<secret>`, shown once, stored as a hash. Random and clock come from the caller."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sqlmodel import Session, col, select

from gateway.principal import Principal, wrong_scope
from schemas.alerts import NO_TENANT
from schemas.tables import NAME_LENGTH, SCOPES_LENGTH, Token
from streams.errors import Invalid

PREFIX = "est_"
NAMES = re.compile(r"[A-Za-z0-9._/-]*")
ID_BYTES, SECRET_BYTES = 6, 32
MAX_LENGTH = 256
LIST_LIMIT = 1000


class Presented(NamedTuple):
    """What a caller shows: which token, and the secret to prove it."""

    id: str
    secret: str


class Issued(NamedTuple):
    row: Token
    text: str
    """The whole token: the only time it is to be seen."""


def parse(text: str) -> Presented | None:
    """`est_<id>_<secret>` taken apart, None when it is not of this form."""
    if not text.startswith(PREFIX) or len(text) > MAX_LENGTH:
        return None
    id_, underscore, secret = text[len(PREFIX) :].partition("_")
    return Presented(id_, secret) if id_ and underscore and secret and len(id_) <= 32 else None


def hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def principal(row: Token | None, presented: Presented, now_ms: int) -> Principal | None:
    """Who `presented` is, None when it is unknown, wrong, revoked or expired."""
    right = hmac.compare_digest(row.secret_hash if row else "0" * 64, hashed(presented.secret))
    if row is None or not right or row.revoked_ms or (row.expires_ms and row.expires_ms <= now_ms):
        return None
    return Principal(name=f"token/{row.name}", tenant=row.tenant, scopes=frozenset(row.scopes.split()), session=row.id)


def issue(
    session: Session,
    *,
    name: str,
    scopes: Iterable[str],
    entropy: bytes,
    now_ms: int,
    tenant: str = NO_TENANT,
    created_by: str = "",
    parent: str = "",
    expires_ms: int = 0,
) -> Issued:
    """Store a new token made of `entropy` (38 random bytes), which never outlives its `parent`. Raises Invalid naming a
    wrong scope, name or tenant."""
    wanted = sorted(set(scopes))
    if not wanted:
        raise Invalid("scope", "a token needs at least one scope, such as logs:write")
    for scope in wanted:
        if wrong := wrong_scope(scope):
            raise Invalid("scope", wrong)
    if len(" ".join(wanted)) > SCOPES_LENGTH:
        raise Invalid("too_long", "the list of scopes is too long")
    for what, text in (("name", name), ("tenant", tenant)):
        if not NAMES.fullmatch(text) or len(text) > NAME_LENGTH:
            raise Invalid(what, f"{text[:40]!r}: expected up to {NAME_LENGTH} letters, digits, . _ / and -")
    above = session.get(Token, parent) if parent else None
    if above is not None and above.expires_ms:
        expires_ms = min(expires_ms or above.expires_ms, above.expires_ms)
    if expires_ms and expires_ms <= now_ms:
        raise Invalid("expires", "the expiry is in the past")
    id_, secret = entropy[:ID_BYTES].hex(), entropy[ID_BYTES:].hex()
    row = Token(
        id=id_,
        name=name or id_,
        secret_hash=hashed(secret),
        tenant=tenant,
        scopes=" ".join(wanted),
        created_by=created_by,
        parent=parent,
        created_ms=now_ms,
        expires_ms=expires_ms,
    )
    session.add(row)
    session.commit()
    session.refresh(row)
    return Issued(row, f"{PREFIX}{id_}_{secret}")


def listed(session: Session) -> list[Token]:
    """Newest first, revoked ones too."""
    return list(session.exec(select(Token).order_by(col(Token.created_ms).desc()).limit(LIST_LIMIT)))


def revoke(session: Session, id_: str, now_ms: int) -> Token | None:
    """Revoke it and all that were made with it (again: no change). None when there is none of that id."""
    row = session.get(Token, id_)
    if row is not None:
        for each in (row, *_descendants(session, id_)):
            each.revoked_ms = each.revoked_ms or now_ms
            session.add(each)
        session.commit()
        session.refresh(row)
    return row


def _descendants(session: Session, id_: str) -> Iterator[Token]:
    for child in session.exec(select(Token).where(Token.parent == id_)):
        yield child
        yield from _descendants(session, child.id)
