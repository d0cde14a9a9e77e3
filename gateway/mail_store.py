"""Mails of the local mailbox, in SQLite in the data directory: parsed when they come, bounded in number and size.

A mail that comes again (same Message-ID, same recipient) is one mail; `copies` counts how often it came.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from schemas.base import digest, rfc3339

SCHEMA = """
CREATE TABLE IF NOT EXISTS mails (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, received_ms INTEGER NOT NULL,
  message_id TEXT NOT NULL, sender TEXT NOT NULL, recipient TEXT NOT NULL, subject TEXT NOT NULL, date TEXT NOT NULL,
  raw BLOB NOT NULL, size INTEGER NOT NULL, copies INTEGER NOT NULL DEFAULT 1)
"""
HEADERS = ("In-Reply-To", "References", "List-Id", "Auto-Submitted")
ADD = """
INSERT INTO mails (id, received_ms, message_id, sender, recipient, subject, date, raw, size)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET copies = copies + 1
"""
COLUMNS = "number, id, received_ms, message_id, sender, recipient, subject, date, size, copies"


class MailStore:
    """Blocking; one connection behind a lock, for use from worker threads."""

    def __init__(self, path: Path, *, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        with self._lock, self._db:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def add(self, raw: bytes, sender: str, recipients: list[str], now_ms: int) -> None:
        """Returns when the mail is on disk. Raises sqlite3.Error."""
        message = _parsed(raw)
        about = (_header(message, "Subject"), _date(message, now_ms))
        message_id = _header(message, "Message-ID") or f"<{digest(raw.decode('latin-1'))}@none>"
        with self._lock, self._db:
            for recipient in recipients:
                row = (
                    digest(message_id, recipient.lower()),
                    now_ms,
                    message_id,
                    sender,
                    recipient,
                    *about,
                    raw,
                    len(raw),
                )
                self._db.execute(ADD, row)
            self._forget()

    def _forget(self) -> None:
        """Drop the oldest beyond the limits; at least the newest stays."""
        count, size = self._db.execute("SELECT count(*), coalesce(sum(size), 0) FROM mails").fetchone()
        while count > 1 and (count > self._max_messages or size > self._max_bytes):
            number, freed = self._db.execute("SELECT number, size FROM mails ORDER BY number LIMIT 1").fetchone()
            self._db.execute("DELETE FROM mails WHERE number = ?", (number,))
            count, size = count - 1, size - freed

    def page(
        self, text: str, limit: int, before: int, *, oldest_first: bool = False
    ) -> tuple[list[dict[str, Any]], int, int]:
        """Mails whose subject, recipient or Message-ID contains `text`: (items, how many in all, where to go on or 0).

        `before`: the number the last page ended with, 0 for the first page.
        """
        like = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        where = "(subject LIKE ?1 ESCAPE '\\' OR recipient LIKE ?1 ESCAPE '\\' OR message_id LIKE ?1 ESCAPE '\\')"
        beyond, order = ("number > ?2", "ASC") if oldest_first else ("(?2 = 0 OR number < ?2)", "DESC")
        sql = f"SELECT {COLUMNS}, raw FROM mails WHERE {where} AND {beyond} ORDER BY number {order} LIMIT ?3"  # noqa: S608
        with self._lock, closing(self._db.cursor()) as cursor:
            total = cursor.execute(f"SELECT count(*) FROM mails WHERE {where}", (like,)).fetchone()[0]  # noqa: S608
            rows = cursor.execute(sql, (like, before, limit + 1)).fetchall()
        items = rows[:limit]
        return [shown(row) for row in items], total, items[-1]["number"] if len(rows) > limit else 0

    def get(self, id_: str) -> dict[str, Any] | None:
        with self._lock:
            row = self._db.execute(f"SELECT {COLUMNS}, raw FROM mails WHERE id = ?", (id_,)).fetchone()  # noqa: S608
        return shown(row) | {"raw": row["raw"].decode("utf-8", "replace")} if row else None


def shown(row: sqlite3.Row) -> dict[str, Any]:
    message = _parsed(row["raw"])
    return {
        "id": row["id"],
        "message_id": row["message_id"],
        "from": _header(message, "From") or row["sender"],
        "to": row["recipient"],
        "subject": row["subject"],
        "date": row["date"],
        "received": rfc3339(row["received_ms"]),
        "copies": row["copies"],
        "size": row["size"],
        "headers": {name: value for name in HEADERS if (value := _header(message, name))},
        "text": _body(message, "plain"),
        "html": _body(message, "html"),
    }


def _parsed(raw: bytes) -> EmailMessage:
    message = BytesParser(policy=policy.default).parsebytes(raw)
    assert isinstance(message, EmailMessage)  # noqa: S101 - what policy.default makes
    return message


def _header(message: EmailMessage, name: str) -> str:
    """Its text, or what can be read of it: anyone on this machine may send here."""
    try:
        return str(message.get(name, "")).strip()
    except Exception:
        return ""


def _date(message: EmailMessage, now_ms: int) -> str:
    try:
        return rfc3339(int(parsedate_to_datetime(_header(message, "Date")).timestamp() * 1000))
    except (ValueError, TypeError, OverflowError):
        return rfc3339(now_ms)


def _body(message: EmailMessage, subtype: str) -> str:
    try:
        part = message.get_body((subtype,))
        return str(part.get_content()).replace("\r\n", "\n") if part is not None else ""
    except Exception:
        return ""
