"""The account of one partition while this process owns it, and the forms it is kept in. Pure.

A commit's metadata (at most 4096 bytes on a broker of defaults) is the topic's id and a `Note`: totals since `base`,
the lines counted since `flushed`, and how late records became searchable. Before the lines would not fit, or after a
while, they are flushed: a `Page` a dirty hour is written to `platform.accounts`, under a key of its own for each `term`
(the `flushed` its owner began at), and the next commit says `flushed` = up to where.

Whatever happens between the two: a page holds two versions, as of `upto` and as of the last *committed* flush, and only
the commit says which flush counts. A reader (`lines_of`) adds up the terms, each as it was when the next one began. So
a page of an owner that was killed before its commit, or that had lost the partition by then, changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from schemas.accounts import Page, Row
from streams.accounts import NOWHERE, OTHER, Line, Sum, Tally, by_fate, merge, tally, times_of
from streams.batch import Batch
from streams.latency import Latency, Minutes

TERM_HOURS = 72
"""Hours of a term that are held; then another term begins."""
NOTE_BYTES = 3500
"""Longest note of a commit; the broker's limit (`offset.metadata.max.bytes`) is 4096 by default."""
FLUSH_MS = 60_000
"""Lines are flushed when the oldest of them is as old as this."""


Offer = tuple[int, str]
"""An offset and the note that goes with it."""


class Note(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a commit says beside its offset, in short names. `t`: fate -> [records, bytes] since offset `b`, `e`: when
    this account was begun (ms), `f`: up to where lines are in the topic, `d`: the lines since, `m`: `Minutes`."""

    b: int = 0
    e: int = 0
    f: int = 0
    t: dict[str, tuple[int, int]] = {}
    d: list[Row] = []
    m: Minutes = []

    @property
    def totals(self) -> dict[str, Sum]:
        return {fate: Sum(*sum_) for fate, sum_ in self.t.items()}

    @property
    def lines(self) -> Tally:
        return tally_of(self.d)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Note).decode


def parse(text: str) -> tuple[str, Note | None]:
    """A commit's metadata as (topic id, note); None where there is none of ours."""
    topic_id, _, note = text.partition(" ")
    if not note:
        return topic_id, None
    try:
        return topic_id, _decode(note)
    except msgspec.DecodeError:
        return topic_id, None


class Account:
    """`begin` at a committed offset; `add` what each batch, in order, became; `note` is what to commit with `upto`."""

    def __init__(self, upto: int, note: Note | None, clock: Callable[[], int]) -> None:
        """Go on at offset `upto` with the note committed there; without one, counting begins (-1: at the beginning)."""
        start, now_ms = max(upto, 0), clock()
        note = note or Note(b=start, e=now_ms, f=start)
        self._clock = clock
        self.base = note.b
        self.epoch = note.e
        self.totals = note.totals
        self.flushed = note.f
        self.term = note.f
        self.latency = Latency(note.m)
        self._since = note.lines
        self._flushing: Tally = {}
        self._own: dict[int, Tally] = {}
        self._safe: dict[int, Tally] = {}
        self._safe_upto = -1
        self._oldest_ms = now_ms if self._since else 0
        self._text: str | None = None
        self._offer: Offer | None = None
        self._unsure = False
        self.failures = 0
        """Flushes that failed one after another."""

    def add(self, batch: Batch) -> None:
        """The next batch was finished. Without an outcome all of it counts as indexed."""
        now_ms = self._clock()
        if not self._since:
            self._oldest_ms = now_ms
        if batch.outcome is None:
            lines = tally(batch.messages, [NOWHERE] * len(batch), {}, times_of(batch.messages))
        else:
            lines = batch.outcome.lines
            self.latency.add(batch.outcome.latency, now_ms)
        merge(self._since, lines)
        for fate, sum_ in by_fate(lines).items():
            self.totals[fate] = self.totals.get(fate, Sum()).plus(sum_)
        self._text = None

    def note(self) -> str | None:
        """What to commit with the end of the last batch added; None when it is too long before a flush."""
        if self._text is None:
            lines = dict(self._flushing)
            merge(lines, self._since)
            note = Note(
                b=self.base,
                e=self.epoch,
                f=self.flushed,
                t={fate: (sum_.records, sum_.bytes) for fate, sum_ in self.totals.items()},
                d=rows(lines),
                m=self.latency.minutes,
            )
            self._text = _encode(note).decode()
        return self._text if len(self._text.encode()) <= NOTE_BYTES else None

    def offer(self, upto: int) -> Offer | None:
        """What to commit with `upto`, the end of the last batch added. None before a flush; what was offered last when
        that says of the last flush what no commit has said yet, and more than a note holds has come since."""
        text = self.note()
        return (upto, text) if text is not None else self._offer if self._unsure else None

    @property
    def due(self) -> bool:
        """Whether lines should be flushed now."""
        return self.may_flush and (self._clock() - self._oldest_ms >= FLUSH_MS or self.note() is None)

    @property
    def may_flush(self) -> bool:
        """Whether there are lines to flush. Not while a commit that says so of the last flush may be under way: a page
        holds two versions only."""
        return bool(self._since) and not self._flushing and not (self._unsure and self._offer is not None)

    def offered(self, offer: Offer) -> None:
        """This is about to be committed."""
        self._offer = offer

    def flush(self, upto: int) -> dict[int, Page]:
        """Begin a flush of all that was added, which is everything before `upto`: the page of each dirty hour. It ends
        with `flushed_to` or `failed`."""
        self._flushing, self._since = self._since, {}
        return {
            hour: Page(
                upto=upto,
                lines=rows(lines),
                safe_upto=self._safe_upto,
                safe_lines=rows(self._safe.get(hour, {})),
            )
            for hour, lines in self._grown().items()
        }

    def flushed_to(self, upto: int) -> None:
        """The pages are durable: the next commit may say so."""
        self._own |= self._grown()
        self._flushing, self._text = {}, None
        self.flushed, self._unsure, self._offer = upto, True, None
        self._oldest_ms = self._clock()

    def failed(self) -> None:
        """The pages could not be written: their lines stay in the note."""
        since, self._since = self._since, self._flushing
        merge(self._since, since)
        self._flushing, self._text = {}, None

    def fold(self) -> None:
        """Give up telling apart what was not flushed: it fits into a note then, and the totals stay exact."""
        folded: Tally = {}
        hour = max((line.hour for line in self._since), default=0)
        for line, sum_ in self._since.items():
            merge(folded, {Line(hour, OTHER, OTHER, "", line.fate, OTHER): sum_})
        self._since, self._text = folded, None

    def committed(self, offset: int) -> None:
        """What was offered for `offset` is durable: whoever owns the partition next begins with it."""
        if self._offer is None or self._offer[0] != offset or not self._unsure:
            return
        self._unsure = False
        self._safe_upto, self._safe = self.flushed, dict(self._own)
        if len(self._own) > TERM_HOURS and not self._flushing:
            self.term, self._own, self._safe, self._safe_upto = self.flushed, {}, {}, -1

    def _grown(self) -> dict[int, Tally]:
        """The hours being flushed, with what this term held of them before."""
        out: dict[int, Tally] = {}
        for line, sum_ in self._flushing.items():
            if line.hour not in out:
                out[line.hour] = dict(self._own.get(line.hour, {}))
            merge(out[line.hour], {line: sum_})
        return out


def rows(lines: Mapping[Line, Sum]) -> list[Row]:
    return [(*line, *sum_) for line, sum_ in lines.items()]


def tally_of(found: Iterable[Row]) -> Tally:
    return {Line(*row[:6]): Sum(*row[6:]) for row in found}


def lines_of(pages: Mapping[int, Mapping[int, Page]], note: Note | None) -> Tally:
    """All lines of a partition's account: `pages` by term and hour, as of the committed `note` (None: of a topic that
    is gone, as of what was last written)."""
    return summed(rows_of(pages, note))


def rows_of(pages: Mapping[int, Mapping[int, Page]], note: Note | None) -> Iterator[Row]:
    """The same as rows, a line perhaps in several."""
    terms = sorted(term for term in pages if note is None or term <= note.f)
    ends = [*terms[1:], note.f if note is not None else None]
    for term, end in zip(terms, ends, strict=False):
        for page in pages[term].values():
            yield from _as_of(page, end)
    if note is not None:
        yield from note.d


def summed(found: Iterable[Row]) -> Tally:
    """Lines of rows; months of them are many, so plainly."""
    sums: dict[tuple[Any, ...], list[int]] = {}
    for row in found:
        key = row[:6]
        if (known := sums.get(key)) is None:
            sums[key] = [row[6], row[7]]
        else:
            known[0] += row[6]
            known[1] += row[7]
    return {Line(*key): Sum(*sum_) for key, sum_ in sums.items()}


def _as_of(page: Page, end: int | None) -> list[Row]:
    if end is None or page.upto <= end:
        return page.lines
    return page.safe_lines if 0 <= page.safe_upto <= end else []
