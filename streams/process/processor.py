"""Documents over batches of log records: what is left of a batch, changed where they say so, and what was done. Pure.

What happens to a record is a function of the record, its id and the documents alone: not of its batch, nor of when.
Documents apply in order, each to the records that its selector names as they came; nothing follows a drop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, cast

from schemas.base import UNREADABLE
from schemas.process_document import Document, Drop, Mask, Parse, Sample, Step
from streams.accounts import plain_place, plain_places
from streams.batch import Batch, Message, with_value
from streams.process import patterns
from streams.process.candidates import Scan, every, of_literals, scan_for
from streams.process.masking import Masking
from streams.process.parsing import Parsing
from streams.process.rewriting import Editing, opened
from streams.process.selectors import condition, literals, names_in
from streams.rules.compiler import compile_all
from streams.rules.literals import Prefilter
from streams.sinks.index.ids import key_id, place_id


class Touch(NamedTuple):
    """What was done, by which document."""

    document: str
    step: Step


class Volume(NamedTuple):
    """`bytes`: of the records as they came."""

    records: int
    bytes: int


class Done(NamedTuple):
    """What became of one record: its value, the very one given where nothing changed (None: dropped), and by what."""

    value: bytes | None
    touches: tuple[Touch, ...] = ()


class Processed(NamedTuple):
    """`batch`: what is left (None: nothing), the batch given where nothing was changed. `positions`: where its records
    were in that; None: all of them. `dropped`: positions of records left out, by document. `bad`: positions of records
    that are no JSON objects, and why."""

    batch: Batch | None
    positions: Sequence[int] | None = None
    dropped: dict[str, list[int]] = {}
    touched: dict[Touch, Volume] = {}
    bad: dict[int, str] = {}

    def origin(self, position: int) -> int:
        """Where a record of `batch` was in the batch given."""
        return position if self.positions is None else self.positions[position]


Action = Masking | Parsing | Sample | Drop


class Processor:
    """Documents compiled. Raises ValueError for what `parse_document` would have refused."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self.documents = tuple(document for document in documents if document.enabled and document.steps)
        self._plans = [[_ready(document, step) for step in document.steps] for document in self.documents]
        self.needs_ids = any(isinstance(step, Sample) for document in self.documents for step in document.steps)
        """Whether what becomes of a record depends on its id."""
        trees = [condition(document.select) for document in self.documents]
        self._evaluate = compile_all(trees)
        self._names = names_in(trees)
        self._hits = [] if self._names is None or self._names else self._evaluate({})
        """Of conditions that ask for no field: what they find in every record."""
        needs = [_need(document) for document in self.documents]
        self._scan: Scan = every if None in needs else scan_for([need for need in needs if need is not None])
        self._maybe = _maybe(self.documents)

    def __bool__(self) -> bool:
        """Whether there is anything to do at all."""
        return bool(self.documents)

    def run(self, batch: Batch) -> Processed:
        """Process a whole batch at once."""
        run = Run(self, batch)
        run.look(0, len(batch))
        return run.done()

    def candidates(self, values: Sequence[bytes]) -> list[int]:
        """Positions of the values that some document may touch, by their bytes."""
        found, maybe = self._scan(values), self._maybe
        return found if maybe is None else [position for position in found if maybe(values[position])]

    def one(self, value: bytes, id_: str) -> Done:
        """What becomes of one record. Raises ValueError when it is no JSON object, or nests too deeply."""
        try:
            return self._one(value, id_)
        except UNREADABLE as error:
            raise ValueError(f"not JSON: {error}") from None

    def _one(self, value: bytes, id_: str) -> Done:
        record = opened(value)
        hits = self._hits or self._evaluate(record.some(self._names))
        if not hits:
            return Done(value)
        touches: list[Touch] = []
        masks: list[Masking] = []
        for hit in hits:
            for touch, action in self._plans[hit]:
                if isinstance(action, Masking):
                    masks.append(action)
                elif isinstance(action, Sample):
                    if not kept(id_, touch.document, action):
                        return Done(None, (*touches, touch))
                    continue
                elif isinstance(action, Drop):
                    return Done(None, (*touches, touch))
                if action(record):
                    if touch not in touches:
                        touches.append(touch)
                    if isinstance(action, Parsing):
                        _mask_parsed(record, masks, action)
        return Done(record.value() if record.changed else value, tuple(touches))


def _mask_parsed(record: Editing, masks: Sequence[Masking], parsing: Parsing) -> None:
    """What the text hid, say by escaping it, may come to light by parsing."""
    for mask in masks:
        mask.field(record, parsing.into)


class Run:
    """A batch being processed, bit by bit: a large one should not hold an event loop up."""

    def __init__(self, processor: Processor, batch: Batch) -> None:
        self._processor = processor
        self._batch = batch
        self._changed: dict[int, bytes] = {}
        self._dropped: dict[str, list[int]] = {}
        self._touched: dict[Touch, list[int]] = {}
        self._bad: dict[int, str] = {}

    def look(self, start: int, stop: int) -> None:
        """Process the records at positions [start, stop)."""
        batch, one, ids = self._batch, self._processor.one, self._processor.needs_ids
        messages = batch.messages[start:stop]
        found = list(map(type(messages[0]).value, messages))
        values = [value or b"" for value in found] if None in found else cast(list[bytes], found)
        for place in self._processor.candidates(values):
            value = values[place]
            try:
                done = one(value, record_id(batch.topic_id, batch.partition, messages[place]) if ids else "")
            except ValueError as error:
                self._bad[start + place] = str(error)
                continue
            if done.touches:
                self._note(start + place, value, done)

    def _note(self, position: int, value: bytes, done: Done) -> None:
        for touch in done.touches:
            sums = self._touched.setdefault(touch, [0, 0])
            sums[0] += 1
            sums[1] += len(value)
        if done.value is None:
            self._dropped.setdefault(done.touches[-1].document, []).append(position)
        elif done.value is not value:
            self._changed[position] = done.value

    def done(self) -> Processed:
        touched = {touch: Volume(*sums) for touch, sums in self._touched.items()}
        if not self._changed and not self._dropped:
            return Processed(self._batch, None, {}, touched, self._bad)
        gone = {position for positions in self._dropped.values() for position in positions}
        left, positions = _left(self._batch, self._changed, gone)
        return Processed(left, positions, self._dropped, touched, self._bad)


def kept(id_: str, document: str, sample: Sample) -> bool:
    """Whether a record is among those kept: its id decides, in each document anew."""
    sha = hashlib.blake2b(f"{document}\n{id_}".encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(sha.digest()) % sample.of < sample.keep


def record_id(topic_id: str, partition: int, message: Message) -> str:
    """The id its document has in the index."""
    return key_id(message.key()) or place_id(topic_id, partition, message.offset())


def _ready(document: Document, step: Drop | Sample | Mask | Parse) -> tuple[Touch, Action]:
    match step:
        case Drop():
            return Touch(document.name, Step.DROP), step
        case Sample():
            return Touch(document.name, Step.SAMPLE), step
        case Mask():
            return Touch(document.name, Step.MASK), Masking(step)
        case Parse():
            return Touch(document.name, Step.PARSE), Parsing(step)


def _need(document: Document) -> bytes | None:
    """RE2 for what raw JSON holds of every record the document may touch; None: nothing is known.

    Of one that only masks, what is masked; of any other what its selector names.
    """
    if all(isinstance(step, Mask) for step in document.steps):
        found = [need for step in document.steps if isinstance(step, Mask) for need in _masked(step)]
        if all(need is not None for need in found):
            return b"|".join(need for need in found if need is not None)
    needed = literals(document.select)
    return of_literals(needed) if needed else None


def _masked(step: Mask) -> list[bytes | None]:
    return [*(patterns.RAW[each] for each in step.presets), *map(patterns.raw_of, step.patterns)]


def _maybe(documents: Sequence[Document]) -> Callable[[bytes], bool] | None:
    """Whether raw JSON can be of a record some document selects; None when some selects by nothing JSON must hold."""
    union: set[bytes] = set()
    for document in documents:
        needed = literals(document.select)
        if needed is None:
            return None
        union |= needed
    maybe: Callable[[bytes], bool] = Prefilter(frozenset(union)).maybe
    return maybe


def _left(batch: Batch, changed: dict[int, bytes], dropped: set[int]) -> tuple[Batch | None, Sequence[int] | None]:
    messages, places = list(batch.messages), list(plain_places(batch))
    for position, value in changed.items():
        messages[position] = with_value(batch.topic, batch.partition, messages[position], value)
        places[position] = plain_place(value)
    positions: Sequence[int] | None = None
    if dropped:
        positions = [position for position in range(len(messages)) if position not in dropped]
        messages = [messages[position] for position in positions]
        places = [places[position] for position in positions]
    if not messages:
        return None, positions
    out = Batch(
        batch.topic, batch.partition, messages, topic_id=batch.topic_id, nbytes=batch.nbytes, at_end=batch.at_end
    )
    out.places = places
    return out, positions
