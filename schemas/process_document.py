"""A processing document as people write it (docs/how-to/cut-down-logs.md), checked and with its defaults filled in."""

from __future__ import annotations

from enum import StrEnum

from schemas.base import Event

REPLACEMENT = "***"
MAX_JOINED_LINES = 500
MAX_JOINED_BYTES = 256 << 10


class Step(StrEnum):
    """What a document does to a record; the label of its metrics and of its counts in the ledger."""

    DROP = "drop"
    SAMPLE = "sample"
    MASK = "mask"
    PARSE = "parse"
    JOIN = "join"


class Preset(StrEnum):
    """Patterns that come with Eventsphere."""

    MAIL = "mail"
    TOKEN = "token"  # noqa: S105 the name of a pattern
    CARD = "card"


class Form(StrEnum):
    """What the text that is parsed looks like."""

    JSON = "json"
    LOGFMT = "logfmt"
    PATTERN = "pattern"


class Traces(StrEnum):
    """Stack traces whose lines are known to belong together."""

    JAVA = "java"
    PYTHON = "python"
    GO = "go"


class Select(Event, frozen=True, kw_only=True):
    """Which records: all that is given must hold. Values are exact, or globs with `*` and `?`; several are
    alternatives. `where` is the rules' condition language."""

    cluster: tuple[str, ...] = ()
    namespace: tuple[str, ...] = ()
    workload: tuple[str, ...] = ()
    pod: tuple[str, ...] = ()
    container: tuple[str, ...] = ()
    labels: dict[str, tuple[str, ...]] = {}
    where: str = ""


class Drop(Event, frozen=True):
    """Of the records selected, none is indexed."""


class Sample(Event, frozen=True, kw_only=True):
    """Of the records selected, `keep` of `of` are indexed: which ones, their ids decide."""

    keep: int = 1
    of: int


class Mask(Event, frozen=True, kw_only=True):
    """`fields`: of the record's top level; empty: all but those that say where the record is from."""

    presets: tuple[Preset, ...] = ()
    patterns: tuple[str, ...] = ()
    """RE2; where one has groups, only what these matched is replaced."""
    replacement: str = REPLACEMENT
    fields: tuple[str, ...] = ()


class Parse(Event, frozen=True, kw_only=True):
    """The text of field `source` as fields of object `into`."""

    form: Form
    pattern: str = ""
    source: str = "log"
    into: str = "parsed"


class Join(Event, frozen=True, kw_only=True):
    """Lines of one container that belong together become one record. `start`: RE2, where a record begins."""

    partial: bool = True
    traces: tuple[Traces, ...] = ()
    start: str = ""
    max_lines: int = MAX_JOINED_LINES
    max_bytes: int = MAX_JOINED_BYTES


class Document(Event, frozen=True, kw_only=True):
    name: str
    select: Select = Select()
    join: Join | None = None
    """Done where records come in; everything else where they are indexed."""
    steps: tuple[Drop | Sample | Mask | Parse, ...] = ()
    enabled: bool = True
    file: str = ""
    line: int = 0
