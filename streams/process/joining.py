"""Lines of one container that belong together become one record, inside what one sender sent at once. Pure.

What is sent at once (a forward chunk, a request) is cut by its sender, so what is sent again is joined the same way.
The joined record keeps key, time and fields of its first line; the others are gone. Two ways, in this order: parts of
one line that a container runtime cut (CRI's `logtag`, Fluent Bit's `_p`, Docker's `partial_message`), and traces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from schemas.process_document import Document, Join
from streams.process import traces
from streams.process.candidates import END, ESCAPED
from streams.process.patterns import detecting
from streams.process.rewriting import Editing, encode, repaired
from streams.process.selectors import condition
from streams.process.traces import Grouping
from streams.record import Outgoing
from streams.rules.compiler import compile_all
from streams.sinks.index import fields

TEXTS = ("log", "message")
DOCKER = ("partial_message", "partial_id", "partial_ordinal", "partial_last")
RAW_PARTIAL = rb'"(?:logtag|_p)"[ ]*:[ ]*"P|"partial_message"'


class Joined(NamedTuple):
    """`lines`: how many records each document took into others; `by`: which document made the record at a position of
    the list given longer."""

    records: list[Outgoing]
    lines: dict[str, int]
    by: dict[int, str] = {}


class _Line(NamedTuple):
    """A record some document may join: its place among all, its text, and whether more of its line follows."""

    place: int
    text: str
    field: str
    more: bool


class Joiner:
    """Documents compiled. Raises ValueError for what `parse_document` would have refused."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self.documents = tuple(document for document in documents if document.enabled and document.join)
        self._joins = [document.join for document in self.documents if document.join]
        self._groupings = [Grouping(join) if join.traces or join.start else None for join in self._joins]
        self._evaluate = compile_all([condition(document.select) for document in self.documents])
        raw = _raw(self._joins)
        self._maybe = detecting(raw) if raw else None

    def __bool__(self) -> bool:
        """Whether anything is asked for."""
        return bool(self.documents)

    def join(self, records: list[Outgoing]) -> Joined:
        """The records with what belongs together joined, in their order; `records` itself where nothing does."""
        if len(records) < 2 or not self._worth(records):
            return Joined(records, {})
        streams: dict[tuple[int, Any], list[_Line]] = {}
        for place, record in enumerate(records):
            if found := self._line(place, record.value or b""):
                streams.setdefault(found[0], []).append(found[1])
        gone: set[int] = set()
        texts: dict[int, tuple[str, str, bool]] = {}
        lines: Counter[str] = Counter()
        by: dict[int, str] = {}
        for (number, _), found_lines in streams.items():
            for run in self._runs(number, found_lines):
                by[run.places[0]] = self.documents[number].name
                lines[self.documents[number].name] += len(run.places) - 1
                gone.update(run.places[1:])
                texts[run.places[0]] = (run.field, run.text, run.more)
        if not gone:
            return Joined(records, {})
        out = [
            record._replace(value=_with_text(record.value or b"", *texts[place])) if place in texts else record
            for place, record in enumerate(records)
            if place not in gone
        ]
        return Joined(out, dict(lines), by)

    def _worth(self, records: Sequence[Outgoing]) -> bool:
        if self._maybe is None:
            return True
        block = END.join([record.value or b"" for record in records])
        return self._maybe(block)

    def _line(self, place: int, value: bytes) -> tuple[tuple[int, Any], _Line] | None:
        """A record as a line of its stream, when some document selects it; what is no record is nobody's line."""
        try:
            record = fields.decode(value)
        except ValueError:
            return None
        name = next((name for name in TEXTS if isinstance(record.get(name), str)), "")
        hits = self._evaluate(record) if name else ()
        if not hits:
            return None
        return (hits[0], _stream(record)), _Line(place, record[name], name, _more(record))

    def _runs(self, number: int, lines: list[_Line]) -> list[_Run]:
        join, grouping = self._joins[number], self._groupings[number]
        runs = (
            _whole(lines, join)
            if join.partial
            else [_Run((line.place,), line.field, line.text, line.more) for line in lines]
        )
        if grouping is not None:
            runs = _traces(runs, grouping)
        return [run for run in runs if len(run.places) > 1]


class _Run(NamedTuple):
    places: tuple[int, ...]
    field: str
    text: str
    more: bool


def _alone(line: _Line) -> _Run:
    return _Run((line.place,), line.field, line.text, line.more)


def _whole(lines: Sequence[_Line], join: Join) -> list[_Run]:
    """Parts of one line put together again."""
    out: list[_Run] = []
    for line in lines:
        last = out[-1] if out else None
        if (
            last is not None
            and last.more
            and len(last.places) < join.max_lines
            and len(last.text) + len(line.text) <= join.max_bytes
        ):
            out[-1] = _Run((*last.places, line.place), last.field, last.text + line.text, line.more)
        else:
            out.append(_alone(line))
    return out


def _traces(runs: list[_Run], grouping: Grouping) -> list[_Run]:
    out: list[_Run] = []
    done = 0
    for first, end in grouping.runs([run.text.encode() for run in runs]):
        out += runs[done:first]
        part = runs[first:end]
        text = "\n".join([*(run.text.removesuffix("\n").removesuffix("\r") for run in part[:-1]), part[-1].text])
        places = tuple(place for run in part for place in run.places)
        out.append(_Run(places, part[0].field, text, part[-1].more))
        done = end
    return out + runs[done:]


def _stream(record: dict[str, Any]) -> Any:
    """Which container's stdout or stderr (or what else) a record is a line of."""
    about = record.get("kubernetes")
    names: Any = (record.get("tag"), record.get("host"), record.get("container_id"))
    if isinstance(about, dict):
        kinds = ("namespace_name", "pod_name", "container_name", "docker_id", "pod_id")
        names = tuple(about.get(name) for name in kinds)
    return encode((record.get("cluster"), names, record.get("stream")))


def _more(record: dict[str, Any]) -> bool:
    """Whether the rest of this line follows in another record."""
    if record.get("logtag", record.get("_p")) == "P":
        return True
    return record.get("partial_message") in (True, "true") and record.get("partial_last") not in (True, "true")


def _with_text(value: bytes, field: str, text: str, more: bool) -> bytes:
    """The first line's record with the whole text, and no more marked as a part (unless the end did not come)."""
    record = Editing(repaired(value))
    record.set(field, encode(text))
    if not more:
        for name in ("logtag", "_p"):
            if record.text(name) == "P":
                record.set(name, b'"F"')
        for name in DOCKER:
            record.remove(name)
    return record.value()


def _raw(joins: Sequence[Join]) -> bytes | None:
    """RE2 for what raw JSON holds of some record wherever there is something to join; None: nothing is known."""
    needs: list[bytes] = []
    for join in joins:
        if join.start:
            return None
        needs += [RAW_PARTIAL] if join.partial else []
        needs += [traces.RAW[kind] for kind in join.traces]
    return b"|".join([*dict.fromkeys(needs), ESCAPED]) if needs else None
