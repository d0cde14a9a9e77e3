"""Accounts, tokens and sessions as requests ask for them: the database on a thread of its own, behind a short memory.

What is looked up on every request is remembered for `REMEMBER_S`, so that a revocation acts on the next request within
that time, in every process. Raises Retryable when the database is away.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, delete

from gateway import database, lockout, passwords, tokens
from schemas.tables import Account, RevokedSession, Token
from streams.errors import Retryable
from streams.settings import Settings

REMEMBER_S = 1.0
REMEMBERED = 10_000
HASHERS = 2
"""Passwords checked at a time: each takes 64 MiB."""
WAITING = 50
"""Logins that may wait; more are told to come back."""
T = TypeVar("T")


class Login(NamedTuple):
    """What a login attempt came to. `locked_ms` > 0: for how long; `just_locked`: by this attempt."""

    account: Account | None
    locked_ms: int = 0
    just_locked: bool = False


class Accounts:
    def __init__(self, settings: Settings, clock: Callable[[], int]) -> None:
        self._settings = settings
        self._clock = clock
        self._engine: Engine | None = None
        self._thread = ThreadPoolExecutor(1, "database")
        self._hashers = ThreadPoolExecutor(HASHERS, "passwords")
        self._memory: dict[tuple[str, str], tuple[float, Any]] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._waiting = 0

    async def start(self) -> None:
        self._engine = await self._loop.run_in_executor(self._thread, database.ready, self._settings)

    async def close(self) -> None:
        self._hashers.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._thread.shutdown)
        if self._engine is not None:
            self._engine.dispose()

    async def ping(self) -> None:
        """Raises Retryable when the database is away."""
        await self._call(lambda s: s.get(Account, database.ADMIN_NAME))

    async def login(self, username: str, password: str, address: str) -> Login:
        """Check a password; attempts at one name wait for each other. Raises Retryable("busy") when too many wait."""
        if self._waiting >= WAITING:
            raise Retryable("busy", "too many logins at once", 1.0)
        self._waiting += 1
        turn = self._turns.setdefault(username, asyncio.Lock())
        try:
            async with turn:
                return await self._login(username, password, address)
        finally:
            self._waiting -= 1
            if not turn.locked():
                self._turns.pop(username, None)

    async def _login(self, username: str, password: str, address: str) -> Login:
        allowed, window_ms = self._settings.gateway.login_attempts, self._settings.gateway.login_window_s * 1000
        now = self._clock()
        locked = await self._call(
            lambda s: lockout.begin(s, username, address, now, allowed=allowed, window_ms=window_ms)
        )
        if locked:
            return Login(None, locked)
        account = await self._call(lambda s: s.get(Account, username))
        known = account.password_hash if account and not account.disabled else None
        right = await self._loop.run_in_executor(self._hashers, passwords.is_right, password, known)
        if right:
            await self._call(lambda s: lockout.forget(s, username))
            return Login(account)
        wrong = await self._call(lambda s: lockout.wrong_so_far(s, username))
        return Login(None, window_ms if wrong >= allowed else 0, wrong >= allowed)

    async def account(self, username: str) -> Account | None:
        return await self._remembered("account", username, lambda s: s.get(Account, username))

    async def token(self, id_: str) -> Token | None:
        return await self._remembered("token", id_, lambda s: s.get(Token, id_))

    async def is_revoked(self, session_id: str) -> bool:
        return await self._remembered("session", session_id, lambda s: s.get(RevokedSession, session_id)) is not None

    async def end_session(self, session_id: str, expires_ms: int) -> None:
        """Log out. Sessions that have expired meanwhile are forgotten."""
        now = self._clock()

        def change(session: Session) -> None:
            session.exec(delete(RevokedSession).where(col(RevokedSession.expires_ms) < now))
            session.merge(RevokedSession(id=session_id, expires_ms=expires_ms))
            session.commit()

        await self._call(change)
        self._memory.pop(("session", session_id), None)

    async def issue(
        self, *, name: str, scopes: Iterable[str], tenant: str, created_by: str, parent: str = "", expires_ms: int = 0
    ) -> tokens.Issued:
        """Raises Invalid naming a wrong scope."""
        entropy, now = secrets.token_bytes(tokens.ID_BYTES + tokens.SECRET_BYTES), self._clock()
        return await self._call(
            lambda s: tokens.issue(
                s,
                name=name,
                scopes=scopes,
                entropy=entropy,
                now_ms=now,
                tenant=tenant,
                created_by=created_by,
                parent=parent,
                expires_ms=expires_ms,
            )
        )

    async def tokens(self) -> list[Token]:
        return await self._call(tokens.listed)

    async def revoke(self, id_: str) -> Token | None:
        now = self._clock()
        row = await self._call(lambda s: tokens.revoke(s, id_, now))
        self._memory = {key: known for key, known in self._memory.items() if key[0] != "token"}
        return row

    async def work(self, work: Callable[[Session], T]) -> T:
        """Do some work on other tables of the database. Raises what it raises, Retryable when the database is away."""
        return await self._call(work)

    async def _remembered(self, kind: str, id_: str, look_up: Callable[[Session], T]) -> T:
        key, now = (kind, id_), self._loop.time()
        known = self._memory.get(key)
        if known is not None and known[0] > now:
            value: T = known[1]
            return value
        value = await self._call(look_up)
        if len(self._memory) >= REMEMBERED:
            self._memory.clear()
        self._memory[key] = (now + REMEMBER_S, value)
        return value

    async def _call(self, work: Callable[[Session], T]) -> T:
        return await self._loop.run_in_executor(self._thread, self._in_session, work)

    def _in_session(self, work: Callable[[Session], T]) -> T:
        if self._engine is None:
            raise Retryable("database_away", "the database is not open")
        try:
            with Session(self._engine, expire_on_commit=False) as session:
                return work(session)
        except SQLAlchemyError as error:
            raise Retryable("database_away", type(error).__name__) from error

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()
