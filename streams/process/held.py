"""The processing documents of one process: read at its start, and again whenever a file of their folder changes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import structlog

from schemas.process_document import Document
from streams.errors import Fatal
from streams.metrics import DOCUMENTS_REFUSED
from streams.process.document import parse_document
from streams.process.joining import Joiner
from streams.process.processor import Processor
from streams.rules.ruleset import in_folder

log = structlog.get_logger(__name__)

LOOK_S = 2.0
WHAT = "processing documents"
Signature = tuple[tuple[str, int, int, int], ...]


class Checked(NamedTuple):
    """A file, how many documents it holds, and what is wrong with it."""

    file: str
    documents: int
    errors: list[str]


def checked(path: Path) -> list[Checked]:
    """Each file of a folder, or one file. Names must differ across a folder."""
    if path.is_dir():
        files, errors = in_folder(str(path), WHAT)
        found = {file.name: file.text for file in files}
    else:
        found, errors = _one(path)
    out = [Checked(error.split(":", 1)[0], 0, [error]) for error in errors]
    taken: dict[str, Document] = {}
    for name, text in found.items():
        documents, wrong = parse_document(text, name)
        wrong += _taken(documents, taken)
        out.append(Checked(name, len(documents), wrong))
    return out


def _one(path: Path) -> tuple[dict[str, str], list[str]]:
    try:
        return {str(path): path.read_text("utf-8")}, []
    except (OSError, UnicodeDecodeError) as error:
        return {}, [f"{path}:1: cannot be read: {error}"]


def _taken(documents: Iterable[Document], taken: dict[str, Document]) -> list[str]:
    out = []
    for document in documents:
        other = taken.setdefault(document.name, document)
        if other is not document:
            where = f"{document.file}:{document.line}: {document.name}"
            out.append(f"{where}: the name is taken in {other.file}:{other.line}")
    return out


class Documents:
    """`processor` and `joiner` are replaced as a whole; None where no document asks for them, so that it costs nothing.

    A file that became wrong keeps the documents it last had; so do all of them while the folder cannot be read.
    """

    def __init__(self, folder: str) -> None:
        """Reads nothing yet. `folder` empty: there are no documents, now or ever."""
        self.folder = folder
        self._good: dict[str, list[Document]] = {}
        self._seen: Signature | None = None
        self.current: tuple[Document, ...] = ()
        """In the order they apply in."""
        self.errors: list[str] = []
        self.processor: Processor | None = None
        self.joiner: Joiner | None = None

    def start(self) -> None:
        """Read them. Raises Fatal naming what is wrong: what was to be masked must not be indexed instead."""
        self.refresh()
        if self.errors:
            raise Fatal("process_documents", "wrong processing documents:\n" + "\n".join(self.errors))

    def refresh(self) -> bool:
        """Look whether the files changed, and read them if so; whether there are other documents now."""
        if not self.folder:
            return False
        seen = signature(self.folder)
        if seen == self._seen:
            return False
        self._seen = seen
        documents = self._read()
        DOCUMENTS_REFUSED.set(len(self.errors))
        log.info("process.loaded", documents=len(documents), errors=len(self.errors))
        for line in self.errors:
            log.error("process.refused", error=line)
        if documents == self.current:
            return False
        processor, joiner = Processor(documents), Joiner(documents)
        self.current = documents
        self.processor, self.joiner = processor or None, joiner or None
        return True

    async def keep(self) -> None:
        """Look again and again, beside the event loop. Never returns."""
        while self.folder:
            await asyncio.sleep(LOOK_S)
            await asyncio.to_thread(self.refresh)

    def _read(self) -> tuple[Document, ...]:
        files, errors = in_folder(self.folder, WHAT)
        if errors and not files:
            self.errors = errors
            return self.current
        for file in files:
            documents, wrong = parse_document(file.text, file.name)
            if not wrong:
                self._good[file.name] = documents
            errors += wrong
        named = {file.name for file in files} | {error.split(":", 1)[0] for error in errors}
        self._good = {name: documents for name, documents in self._good.items() if name in named}
        taken: dict[str, Document] = {}
        for name in sorted(self._good):
            errors += _taken(self._good[name], taken)
        self.errors = errors
        return tuple(taken.values())


def signature(folder: str) -> Signature:
    """What tells that a file of the folder changed: also one behind a link, as config maps are mounted."""
    out = []
    try:
        for path in sorted(Path(folder).iterdir()):
            if path.suffix in (".yaml", ".yml") and not path.name.startswith("."):
                found = path.stat()
                out.append((path.name, found.st_ino, found.st_mtime_ns, found.st_size))
    except OSError as error:
        return ((type(error).__name__, 0, 0, 0),)
    return tuple(out)
