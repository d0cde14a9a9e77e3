"""Rules stored by the API, in the database: whose, which version, by whom. Work inside a session.

What the database says goes to `rules.documents` (gateway/rules_following.py); there workers take it from.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlmodel import Session, col, delete, func, select

from gateway.principal import Principal
from gateway.problems import Problem, bad_parameter
from schemas.alerts import NO_TENANT
from schemas.rule_document import Rule
from schemas.rules import RuleDocument
from schemas.tables import NAME_LENGTH, RULE_BYTES, RuleVersion, StoredRule
from streams.rules.ruleset import RuleSet
from streams.rules.stored import parsed

MAX_OF_TENANT = 500
"""Rules one tenant may store."""
KEPT_VERSIONS = 100
"""Of each rule."""
FILE = "text"
"""How errors name the document."""


class Key(NamedTuple):
    tenant: str
    name: str


def key_of(who: Principal, name: str, tenant: str = "") -> Key:
    """The rule a caller means: its own tenant's; the platform's people may name another's."""
    if tenant and who.tenant not in (NO_TENANT, tenant):
        raise bad_parameter("tenant", f"yours is {who.tenant}")
    return Key(tenant or who.tenant, name)


def checked(text: str, key: Key | str) -> Rule:
    """The rule a text is, of a tenant (and of a name, if one is given). Raises 422 with all that is wrong."""
    tenant = key if isinstance(key, str) else key.tenant
    if len(text.encode()) > RULE_BYTES:
        raise bad_parameter(FILE, f"longer than {RULE_BYTES >> 10} KiB")
    rule, errors = parsed(text, FILE, tenant)
    if rule is not None and not isinstance(key, str) and rule.name != key.name:
        errors = [f"{FILE}:{rule.line}: alert: expected {key.name}: the name of a rule does not change"]
    if rule is not None and not errors:
        try:
            RuleSet([rule])
        except Exception as error:  # what cannot be compiled here would stop every worker
            errors = [f"{FILE}:{rule.line}: where: cannot be evaluated: {error}"]
    if errors or rule is None:
        raise wrong(errors)
    return rule


def wrong(errors: list[str]) -> Problem:
    """`file:line: field: reason` for each, as a problem."""
    found = []
    for line in errors:
        _, number, rest = (*line.split(":", 2), "", "")[:3]
        field, colon, reason = rest.strip().partition(": ")
        found.append({
            "field": FILE, "line": int(number) if number.isdecimal() else 1,
            "at": field if colon else "", "reason": reason if colon else field,
        })  # fmt: skip
    return Problem(422, "Invalid request", "; ".join(errors[:20]), field=FILE, errors=found)


def listed(session: Session, tenants: tuple[str, ...] = ()) -> list[StoredRule]:
    """Those there are, by tenant and name."""
    wanted = select(StoredRule).where(col(StoredRule.deleted).is_(False))
    if tenants:
        wanted = wanted.where(col(StoredRule.tenant).in_(tenants))
    return list(session.exec(wanted.order_by(col(StoredRule.tenant), col(StoredRule.name))))


def one(session: Session, key: Key) -> StoredRule:
    """Raises 404."""
    row = session.get(StoredRule, key)
    if row is None or row.deleted:
        raise Problem(404, "Not found", f"there is no stored rule {key.name[:NAME_LENGTH]}")
    return row


def versions(session: Session, key: Key) -> list[RuleVersion]:
    """Newest first, also of a rule that was deleted."""
    wanted = select(RuleVersion).where(col(RuleVersion.tenant) == key.tenant, col(RuleVersion.name) == key.name)
    return list(session.exec(wanted.order_by(col(RuleVersion.version).desc()).limit(KEPT_VERSIONS)))


def version(session: Session, key: Key, number: int) -> RuleVersion:
    row = session.get(RuleVersion, (*key, number))
    if row is None:
        raise Problem(404, "Not found", f"there is no version {number} of {key.name[:NAME_LENGTH]}")
    return row


class Change(NamedTuple):
    """`expected` -1: whatever version there is."""

    key: Key
    verb: str
    author: str
    now_ms: int
    expected: int = -1


def create(session: Session, change: Change, text: str, *, draft: bool = False) -> StoredRule:
    """Raises 409 when there is one already, 422 when the tenant has too many."""
    row = session.get(StoredRule, change.key, with_for_update=True)
    if row is not None and not row.deleted:
        raise Problem(409, "Conflict", f"there is a rule {change.key.name} already: change it with PUT")
    there = select(func.count()).where(col(StoredRule.tenant) == change.key.tenant, col(StoredRule.deleted).is_(False))
    if session.exec(there).one() >= MAX_OF_TENANT:
        raise Problem(422, "Invalid request", f"{change.key.tenant} has {MAX_OF_TENANT} rules already")
    if row is None:
        row = StoredRule(tenant=change.key.tenant, name=change.key.name)
    row.created_ms, row.deleted = change.now_ms, False
    return _stored(session, row, change, "" if draft else text, text if draft else "")


def update(session: Session, change: Change, text: str) -> StoredRule:
    """A new live version; the draft stays."""
    row = _locked(session, change)
    return _stored(session, row, change, text, row.draft)


def put_draft(session: Session, change: Change, text: str) -> StoredRule:
    """A new draft, or none (empty)."""
    row = _locked(session, change)
    if not text and not row.draft:
        raise Problem(404, "Not found", f"{change.key.name} has no draft")
    if not text and not row.text:
        raise Problem(409, "Conflict", f"{change.key.name} has no live version: delete it instead")
    return _stored(session, row, change, row.text, text)


def promote(session: Session, change: Change) -> StoredRule:
    """The draft becomes the live version."""
    row = _locked(session, change)
    if not row.draft:
        raise Problem(404, "Not found", f"{change.key.name} has no draft")
    return _stored(session, row, change, row.draft, "")


def rollback(session: Session, change: Change, number: int) -> StoredRule:
    """The text of an earlier version becomes a new one; also brings back what was deleted."""
    old = version(session, change.key, number)
    row = session.get(StoredRule, change.key, with_for_update=True)
    if row is None or not old.text:
        raise Problem(409, "Conflict", f"version {number} of {change.key.name} had no live text")
    _expected(row, change)
    row.deleted = False
    return _stored(session, row, change, old.text, row.draft)


def remove(session: Session, change: Change) -> StoredRule:
    row = _locked(session, change)
    row.deleted = True
    return _stored(session, row, change, "", "")


def document(row: StoredRule, cluster: str = "") -> RuleDocument:
    """As it stands on `rules.documents`."""
    return RuleDocument(
        tenant=row.tenant,
        name=row.name,
        version=row.version,
        text=row.text,
        draft=row.draft,
        deleted=row.deleted,
        author=row.author,
        updated_ms=row.updated_ms,
        cluster=cluster,
    )


def versions_known(session: Session) -> dict[str, int]:
    """The version of every document, deleted ones too, by its key on the topic."""
    rows = session.exec(select(StoredRule.tenant, StoredRule.name, StoredRule.version))
    return {f"{tenant}/{name}": number for tenant, name, number in rows}


def adopt(session: Session, found: RuleDocument) -> None:
    """Take from the topic what this database, restored from an older copy perhaps, does not know."""
    key = Key(found.tenant, found.name)
    row = session.get(StoredRule, key, with_for_update=True)
    if row is not None and row.version >= found.version:
        return
    row = row or StoredRule(tenant=found.tenant, name=found.name, created_ms=found.updated_ms)
    row.version, row.deleted = found.version - 1, found.deleted
    _stored(session, row, Change(key, "restore", found.author, found.updated_ms), found.text, found.draft)


def _locked(session: Session, change: Change) -> StoredRule:
    row = session.get(StoredRule, change.key, with_for_update=True)
    if row is None or row.deleted:
        raise Problem(404, "Not found", f"there is no stored rule {change.key.name[:NAME_LENGTH]}")
    _expected(row, change)
    return row


def _expected(row: StoredRule, change: Change) -> None:
    if change.expected not in (-1, row.version):
        where = f"{row.name} is at version {row.version}, by {row.author}"
        raise Problem(409, "Conflict", f"{where}, not {change.expected}: look again", version=row.version)


def _stored(session: Session, row: StoredRule, change: Change, text: str, draft: str) -> StoredRule:
    row.version += 1
    row.text, row.draft = text, draft
    row.author, row.updated_ms = change.author[:NAME_LENGTH], change.now_ms
    session.add(row)
    session.merge(
        RuleVersion(
            tenant=row.tenant,
            name=row.name,
            version=row.version,
            verb=change.verb,
            text=text,
            draft=draft,
            author=row.author,
            at_ms=change.now_ms,
        )
    )
    old = (col(RuleVersion.tenant) == row.tenant, col(RuleVersion.name) == row.name)
    session.exec(delete(RuleVersion).where(*old, col(RuleVersion.version) <= row.version - KEPT_VERSIONS))
    session.commit()
    session.refresh(row)
    return row
