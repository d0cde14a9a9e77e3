"""The admin's password between the start that makes it and the first one that is ready to tell it.

A first start may fail or be stopped before it is ready; the password would be lost, and with it the way in.
"""

from __future__ import annotations

import os
from pathlib import Path

FILE = "admin.password"


def keep(folder: Path, password: str) -> str:
    """What is to be told once ready: `password` when there is one, else that of a start that did not come so far."""
    file = folder / FILE
    if not password:
        return file.read_text("ascii") if file.exists() else ""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(password)
    return password


def told(folder: Path) -> None:
    """It was printed: from now on only the database knows it, as a hash."""
    (folder / FILE).unlink(missing_ok=True)
