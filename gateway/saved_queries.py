"""Searches that people keep, each its owner's, seen by others of the tenant when shared. Work inside a session."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from sqlmodel import Session, col, func, select

from gateway.principal import Principal
from gateway.problems import Problem
from schemas.tables import NAME_LENGTH, QUERY_LENGTH, SavedQuery

MAX_OF_ONE = 200
"""Queries one person may keep."""


def seen_by(session: Session, who: Principal) -> list[SavedQuery]:
    """The caller's own and those shared in its tenant, by name."""
    mine = col(SavedQuery.owner) == owner(who)
    wanted = select(SavedQuery).where(col(SavedQuery.tenant) == who.tenant, mine | col(SavedQuery.shared))
    return list(session.exec(wanted.order_by(col(SavedQuery.name), col(SavedQuery.id)).limit(1000)))


def create(
    session: Session, who: Principal, id_: str, name: str, asks: Mapping[str, str], now_ms: int, *, shared: bool
) -> SavedQuery:
    """Raises 422 when the caller keeps as many as one may."""
    mine = select(func.count()).where(col(SavedQuery.tenant) == who.tenant, col(SavedQuery.owner) == owner(who))
    if session.exec(mine).one() >= MAX_OF_ONE:
        raise Problem(422, "Invalid request", f"you keep {MAX_OF_ONE} queries already: delete one")
    row = SavedQuery(
        id=id_,
        tenant=who.tenant,
        owner=owner(who),
        name=name,
        asks=_packed(asks),
        shared=shared,
        created_ms=now_ms,
        updated_ms=now_ms,
    )
    return _stored(session, row)


def change(
    session: Session, who: Principal, id_: str, name: str, asks: Mapping[str, str], now_ms: int, *, shared: bool
) -> SavedQuery:
    """Raises 404 for one the caller does not see, 403 for another's."""
    row = _owned(session, who, id_)
    row.name, row.asks, row.shared, row.updated_ms = name, _packed(asks), shared, now_ms
    return _stored(session, row)


def remove(session: Session, who: Principal, id_: str) -> None:
    session.delete(_owned(session, who, id_))
    session.commit()


def one(session: Session, who: Principal, id_: str) -> SavedQuery:
    """Raises 404 for one the caller does not see."""
    row = session.get(SavedQuery, id_)
    if row is None or row.tenant != who.tenant or not (row.shared or row.owner == owner(who)):
        raise Problem(404, "Not found", f"there is no saved query {id_[:32]}")
    return row


def owner(who: Principal) -> str:
    return who.name[:NAME_LENGTH]


def asked(row: SavedQuery) -> dict[str, str]:
    found: dict[str, str] = orjson.loads(row.asks)
    return found


def _owned(session: Session, who: Principal, id_: str) -> SavedQuery:
    row = one(session, who, id_)
    if row.owner != owner(who) and not who.is_admin:
        raise Problem(403, "Forbidden", f"it is {row.owner}'s: save your own")
    return row


def _stored(session: Session, row: SavedQuery) -> SavedQuery:
    session.add(row)
    session.commit()
    session.refresh(row)
    return row


def _packed(asks: Mapping[str, str]) -> str:
    text = orjson.dumps({name: value for name, value in asks.items() if value}).decode()
    if len(text) > QUERY_LENGTH:
        raise Problem(422, "Invalid request", "the query is too long to be kept", field="asks")
    return text
