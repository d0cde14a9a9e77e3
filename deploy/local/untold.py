"""The admin's password between the start that makes it and the first one that is ready to tell it.

A first start may fail or be stopped at any moment before it is ready: the password would be lost, and with it the way
in. So it is kept here before the database knows it, until it was told.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

FILE = "admin.password"


def make(folder: Path) -> str:
    """A new password, kept in a file that only its owner reads and that is there whole or not at all."""
    password = secrets.token_urlsafe(18)
    draft = folder / f".{FILE}.{os.getpid()}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(password)
    draft.replace(folder / FILE)
    return password


def read(folder: Path) -> str:
    """What is still to be told; empty when nothing is."""
    file = folder / FILE
    return file.read_text("ascii") if file.exists() else ""


def told(folder: Path) -> None:
    """It was printed: from now on only the database knows it, as a hash."""
    (folder / FILE).unlink(missing_ok=True)
