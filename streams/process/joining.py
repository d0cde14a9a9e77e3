"""Lines of one container that belong together become one record, inside what one sender sent at once. Pure.

What is sent at once (a forward chunk, a request) is cut by its sender, so what is sent again is joined the same way.
The joined record keeps key, time and fields of its first line; the others are gone. Two ways, in this order: parts of
one line that a container runtime cut (CRI's `logtag`, Fluent Bit's `_p`, Docker's `partial_message`), and traces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from schemas.process_document import Document, Join, Step
from streams.metrics import PROCESSED
from streams.process import traces
from streams.process.candidates import END, ESCAPED
from streams.process.patterns import detecting
from streams.process.rewriting import Editing, encode, repaired
from streams.process.selectors import condition
from streams.process.traces import Grouping
from streams.record import Bulk
from streams.rules.compiler import compile_all
from streams.sinks.index import fields

TEXTS = ("log", "message")
DOCKER = ("partial_message", "partial_id", "partial_ordinal", "partial_last")
RAW_PARTIAL = rb'"(?:logtag|_p)"[ ]*:[ ]*"P|"partial_message"'


class Joined(NamedTuple):
    """What is left of some values: each, and its position among those given. `lines`: how many values each document
    took into others; `by`: which document made the value at a position longer."""

    values: list[bytes]
    places: list[int]
    lines: dict[str, int]
    by: dict[int, str]


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

    def join(self, values: Sequence[bytes]) -> Joined | None:
        """Join what belongs together of what a sender sent at once, in order; None where there is nothing to join."""
        if len(values) < 2 or not (self._maybe is None or self._maybe(END.join(values))):
            return None
        streams: dict[tuple[int, bytes], list[_Line]] = {}
        for place, value in enumerate(values):
            if found := self._line(place, value):
                streams.setdefault(found[0], []).append(found[1])
        out = _Out(list(values))
        for (number, _), lines in streams.items():
            for run in self._runs(number, lines):
                out.take(self.documents[number].name, run)
        return out.joined() if out.gone else None

    def _line(self, place: int, value: bytes) -> tuple[tuple[int, bytes], _Line] | None:
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


class _Out:
    """Values with runs of them taken together."""

    def __init__(self, values: list[bytes]) -> None:
        self._values = values
        self._lines: Counter[str] = Counter()
        self._by: dict[int, str] = {}
        self.gone: set[int] = set()

    def take(self, document: str, run: _Run) -> None:
        first, *rest = run.places
        self._values[first] = _with_text(self._values[first], run.field, run.text, run.more)
        self._lines[document] += len(rest)
        self._by[first] = document
        self.gone.update(rest)

    def joined(self) -> Joined:
        places = [place for place in range(len(self._values)) if place not in self.gone]
        return Joined([self._values[place] for place in places], places, dict(self._lines), self._by)


def _alone(line: _Line) -> _Run:
    return _Run((line.place,), line.field, line.text, line.more)


def _whole(lines: Sequence[_Line], join: Join) -> list[_Run]:
    """Parts of one line put together again."""
    groups: list[list[_Line]] = []
    size = 0
    for line in lines:
        last = groups[-1] if groups else []
        length = len(line.text.encode()) if line.more or (last and last[-1].more) else 0
        if last and last[-1].more and len(last) < join.max_lines and size + length <= join.max_bytes:
            last.append(line)
            size += length
        else:
            groups.append([line])
            size = length
    return [
        _Run(tuple(line.place for line in group), group[0].field, "".join(line.text for line in group), group[-1].more)
        for group in groups
    ]


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


def _stream(record: dict[str, Any]) -> bytes:
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


def bulk_joined(joiner: Joiner, bulk: Bulk) -> Bulk:
    """A bulk of one sender's records with what belongs together joined, and counted."""
    found = joiner.join(bulk.values)
    if found is None:
        return bulk
    count(found)
    keys, times = [bulk.keys[place] for place in found.places], [bulk.times_ms[place] for place in found.places]
    return bulk._replace(values=found.values, keys=keys, times_ms=times)


def count(joined: Joined) -> None:
    for document, lines in joined.lines.items():
        PROCESSED.labels(document, Step.JOIN).inc(lines)
