"""The database: SQLite in the data directory, or what `EVENTSPHERE_DATABASE__URL` names; migrated at every start.

Calls are short and synchronous, so that any SQLAlchemy driver does; the gateway makes them on one thread of their own.
"""

from __future__ import annotations

import fcntl
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, create_engine, func, select

from gateway import passwords
from gateway.files import data_dir
from schemas.tables import Account
from streams.errors import Fatal
from streams.settings import Settings

FILE = "eventsphere.db"
ADMIN_NAME = "admin"
ATTEMPTS = 5
BUSY_S = 10


def connect(settings: Settings) -> Engine:
    """An engine; nothing is opened yet. Raises Fatal for a URL that no installed driver takes."""
    url = settings.database.url.get_secret_value() or f"sqlite:///{data_dir(settings) / FILE}"
    try:
        if not url.startswith("sqlite"):
            return create_engine(url, pool_pre_ping=True, pool_recycle=600)
        engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": BUSY_S})
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        name = url.partition(":")[0]
        raise Fatal("database", f"EVENTSPHERE_DATABASE__URL ({name}): {type(error).__name__}: no such driver") from None
    event.listen(engine, "connect", _tune_sqlite)
    return engine


def _tune_sqlite(connection: Any, _record: Any) -> None:
    """Readers beside one writer; durable at each commit."""
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def migrate(engine: Engine, revision: str = "head") -> None:
    """Bring the tables to `revision`: up to `head`, or down (`base` removes them all)."""
    with engine.begin() as connection:
        config = alembic(connection)
        if revision == "head":
            command.upgrade(config, revision)
        else:
            command.downgrade(config, revision)


def alembic(connection: Any) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    return config


def ready(settings: Settings) -> Engine:
    """A migrated database. Several processes may start at once: one migrates, the others find it done."""
    engine = connect(settings)
    with _one_at_a_time(settings):
        for attempt in range(ATTEMPTS):
            try:
                migrate(engine)
                return engine
            except SQLAlchemyError as error:
                if attempt == ATTEMPTS - 1:
                    engine.dispose()
                    reason = str(getattr(error, "orig", error)).splitlines()[0]
                    raise Fatal("database", f"cannot be used or migrated: {reason}") from None
                time.sleep(0.2 * 2**attempt)
    raise AssertionError("unreachable")


def bootstrap(settings: Settings, new_password: Callable[[], str] = lambda: secrets.token_urlsafe(18)) -> str:
    """Migrate, and on the very first start create the admin. Returns its password then, an empty text later."""
    engine = ready(settings)
    try:
        with _one_at_a_time(settings), Session(engine) as session:
            if session.exec(select(func.count()).select_from(Account)).one():
                return ""
            password = new_password()
            session.add(
                Account(
                    username=ADMIN_NAME,
                    password_hash=passwords.hashed(password),
                    is_admin=True,
                    created_ms=time.time_ns() // 1_000_000,
                )
            )
            session.commit()
            return password
    finally:
        engine.dispose()


@contextmanager
def _one_at_a_time(settings: Settings) -> Iterator[None]:
    with (data_dir(settings) / f".{FILE}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
