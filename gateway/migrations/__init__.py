"""Alembic migrations of `schemas/tables.py`; `gateway.database.migrate` runs them, `versions/` holds them in order."""
