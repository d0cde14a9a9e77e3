"""Secrets that stand in files beside a configuration."""

from __future__ import annotations

from pathlib import Path

MAX_SECRET_BYTES = 16 << 10


class Files:
    """Reads secrets, relative to the folder of the configuration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, path: str) -> str:
        """The file's text without the line end. Raises ValueError."""
        try:
            with (self.folder / path).open("rb") as stream:
                raw = stream.read(MAX_SECRET_BYTES + 1)
            text = raw.decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot read {path[:200]!r}: {error}") from None
        if len(raw) > MAX_SECRET_BYTES:
            raise ValueError(f"{path[:200]!r} is larger than {MAX_SECRET_BYTES >> 10} KiB")
        return text.strip("\r\n")
