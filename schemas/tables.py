"""The database's tables: who may use the platform. Everything that happens is in Kafka, not here.

Times are milliseconds since the epoch; 0 where there is none. Lengths are given so that MySQL can index every key.
Changed only together with a migration in `gateway/migrations/versions/`; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Text
from sqlmodel import Field, SQLModel

from schemas.alerts import NO_TENANT

NAME_LENGTH = 128
SCOPES_LENGTH = 2048
QUERY_LENGTH = 8192
RULE_BYTES = 32 << 10
"""A rule's YAML: below what MySQL's TEXT holds."""


def _ms(*, index: bool = False) -> int:
    default: int = Field(default=0, sa_type=BigInteger, index=index, nullable=False)
    return default


class Account(SQLModel, table=True):
    """A person. `password_hash` is argon2id's encoded form."""

    __tablename__ = "accounts"

    username: str = Field(primary_key=True, max_length=NAME_LENGTH)
    password_hash: str = Field(max_length=256)
    tenant: str = Field(default=NO_TENANT, max_length=NAME_LENGTH)
    scopes: str = Field(default="", max_length=SCOPES_LENGTH)
    """Separated by spaces."""
    is_admin: bool = False
    disabled: bool = False
    created_ms: int = _ms()


class Token(SQLModel, table=True):
    """A machine's token. The secret itself is shown once and never stored, only its SHA-256 (it is 256 random bits)."""

    __tablename__ = "tokens"

    id: str = Field(primary_key=True, max_length=32)
    name: str = Field(max_length=NAME_LENGTH)
    secret_hash: str = Field(max_length=64)
    tenant: str = Field(default=NO_TENANT, max_length=NAME_LENGTH)
    scopes: str = Field(default="", max_length=SCOPES_LENGTH)
    created_by: str = Field(default="", max_length=NAME_LENGTH)
    parent: str = Field(default="", max_length=32, index=True)
    """Id of the token it was made with: it ends with that one."""
    created_ms: int = _ms()
    expires_ms: int = _ms()
    revoked_ms: int = _ms()


class RevokedSession(SQLModel, table=True):
    """A session that was logged out before it expired; kept until then."""

    __tablename__ = "revoked_sessions"

    id: str = Field(primary_key=True, max_length=64)
    expires_ms: int = _ms(index=True)


class LoginAttempt(SQLModel, table=True):
    """A wrong password, of an account that exists or not; forgotten when its window is over or on a right one."""

    __tablename__ = "login_attempts"

    id: int | None = Field(default=None, primary_key=True)
    username: str = Field(max_length=NAME_LENGTH, index=True)
    address: str = Field(default="", max_length=64)
    at_ms: int = _ms(index=True)


class SavedQuery(SQLModel, table=True):
    """A search somebody keeps: what it asks is JSON, the parameters of `GET /api/v1/logs` by name."""

    __tablename__ = "saved_queries"

    id: str = Field(primary_key=True, max_length=32)
    tenant: str = Field(default=NO_TENANT, max_length=NAME_LENGTH, index=True)
    owner: str = Field(max_length=NAME_LENGTH)
    name: str = Field(max_length=NAME_LENGTH)
    asks: str = Field(max_length=QUERY_LENGTH)
    shared: bool = False
    """Whether others of the tenant see it."""
    created_ms: int = _ms()
    updated_ms: int = _ms()


def _text() -> str:
    default: str = Field(default="", sa_type=Text, nullable=False)
    return default


class StoredRule(SQLModel, table=True):
    """A rule stored by the API, as it is now; `rules.documents` says the same. One that was deleted stays, so that its
    versions go on. `text` and `draft` are YAML as it was written, at most `RULE_BYTES`."""

    __tablename__ = "stored_rules"

    tenant: str = Field(primary_key=True, max_length=NAME_LENGTH)
    name: str = Field(primary_key=True, max_length=NAME_LENGTH)
    version: int = 0
    text: str = _text()
    """The live version; empty: there is none yet."""
    draft: str = _text()
    """The version tried beside it in shadow mode."""
    deleted: bool = False
    author: str = Field(default="", max_length=NAME_LENGTH)
    created_ms: int = _ms()
    updated_ms: int = _ms()


class RuleVersion(SQLModel, table=True):
    """What a rule was after each change; never changed."""

    __tablename__ = "rule_versions"

    tenant: str = Field(primary_key=True, max_length=NAME_LENGTH)
    name: str = Field(primary_key=True, max_length=NAME_LENGTH)
    version: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    verb: str = Field(max_length=32)
    """`create`, `update`, `draft`, `promote`, `discard`, `rollback`, `delete`, `restore`."""
    text: str = _text()
    draft: str = _text()
    author: str = Field(default="", max_length=NAME_LENGTH)
    at_ms: int = _ms()


class ToldDirectly(SQLModel, table=True):
    """An alert told to the break-glass receiver while Kafka was away; `reconciled_ms` 0: Kafka does not know yet."""

    __tablename__ = "told_directly"

    tenant: str = Field(primary_key=True, max_length=NAME_LENGTH)
    fingerprint: str = Field(primary_key=True, max_length=16)
    starts_ms: int = _ms()
    told_ms: int = _ms()
    receiver: str = Field(default="", max_length=NAME_LENGTH)
    alert: str = _text()
    """The observation, as JSON."""
    reconciled_ms: int = _ms(index=True)
