"""Migrations lead to exactly the tables declared, and back to nothing."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect
from sqlmodel import SQLModel

from gateway.database import bootstrap, connect, migrate, ready
from schemas import tables
from streams.settings import Settings


def test_up_to_the_declared_tables_and_down_to_none(tmp_path: Path) -> None:
    engine = connect(Settings(data_dir=str(tmp_path)))
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
    assert tables.Account.__tablename__ in inspect(engine).get_table_names()
    migrate(engine, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    migrate(engine)
    engine.dispose()


def test_a_second_start_finds_everything_again(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))
    assert bootstrap(settings)
    ready(settings).dispose()
    assert bootstrap(settings) == ""


def test_processes_that_start_at_once_create_one_admin(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path))
    passwords: list[str] = []
    threads = [threading.Thread(target=lambda: passwords.append(bootstrap(settings))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([password for password in passwords if password]) == 1
