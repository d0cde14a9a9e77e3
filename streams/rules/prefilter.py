"""Which conditions may be true of which records, by their raw bytes: most records are never parsed. Pure.

The needles of all conditions are one automaton. A block of records is searched as one text first, so that what a record
costs is its bytes, not a call; only in a block that holds what some condition needs are its records searched by
themselves. A condition may be true of a record only if all it needs is in its bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import re2

from streams.rules.literals import Need, Needle, needles, other_writings
from streams.rules.nodes import Node

BLOCK = 32
"""Records searched as one text. With one of a hundred concerned, three blocks of four are done with at once."""
END = b"\n"
"""Between values; no needle holds it."""
MEMORY = 64 << 20
ASKED_AGAIN = 8192
"""After so many records searched by themselves, the needs asked first are chosen by how often they were met."""

Seen = dict[int, list[int] | None]
"""Position of a record -> conditions that may be true of it; None: any may."""


class Gate:
    """`always`: the conditions of which nothing is known; they are in no answer."""

    def __init__(self, trees: Sequence[Node]) -> None:
        self._needs = {number: found for number, tree in enumerate(trees) if (found := needles(tree))}
        self.always = [number for number in range(len(trees)) if number not in self._needs]
        self._ids: dict[Needle, int] = {}
        for needs in self._needs.values():
            for need in needs:
                for needle in sorted(need):
                    self._ids.setdefault(needle, len(self._ids))
        self._sets = {
            number: [frozenset(self._ids[needle] for needle in need) for need in needs]
            for number, needs in self._needs.items()
        }
        self._match = _automaton(self._ids) if self._ids else None
        self._met: Counter[int] = Counter()
        self._searched = 0
        self._choose(_commonness(self._needs.values(), self._ids))

    def look(self, values: Sequence[bytes]) -> Seen:
        """Of at most `BLOCK` values; those that are in no answer can match none but the `always`."""
        match = self._match
        if match is None:
            return {}
        found = match(END.join(values))
        if not found or self._concerned(found) == []:
            return {}
        out: Seen = {}
        for position, value in enumerate(values):
            found = match(value)
            if found:
                self._met.update(found)
                concerned = self._concerned(found)
                if concerned is None or concerned:
                    out[position] = concerned
        self._searched += len(values)
        if self._searched >= ASKED_AGAIN:
            self._choose(self._met)
            self._met, self._searched = Counter(), 0
        return out

    def _concerned(self, found: list[int]) -> list[int] | None:
        """The conditions all of whose needs are among the needles `found`; None: all, it is written in another way."""
        known, asked = len(self._ids), self._asked
        out: set[int] = set()
        met: frozenset[int] | None = None
        for needle in found:
            if needle >= known:
                return None
            for number, others in asked[needle]:
                if others:
                    met = met or frozenset(found)
                    if any(met.isdisjoint(other) for other in others):
                        continue
                out.add(number)
        return sorted(out)

    def _choose(self, commonness: Counter[int]) -> None:
        """For each condition ask first for the need that is met least; the others only when that is."""
        self._asked: list[list[tuple[int, list[frozenset[int]]]]] = [[] for _ in self._ids]
        for number, sets in self._sets.items():
            first = min(sets, key=lambda need: sum(commonness[needle] for needle in need))
            others = [need for need in sets if need is not first]
            for needle in first:
                self._asked[needle].append((number, others))


def _commonness(all_needs: Iterable[list[Need]], ids: dict[Needle, int]) -> Counter[int]:
    """Before anything was seen: what many conditions need is likely in many records, as the name of a namespace is."""
    return Counter(ids[needle] for needs in all_needs for need in needs for needle in need)


def _automaton(known: Collection[Needle]) -> Any:
    """Bytes -> numbers of the needles in them, in the order of `known`; beyond these: it is written in another way."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = MEMORY
    automaton = re2.Set.SearchSet(options)
    for needle in known:
        raw = re2.escape(needle.raw)
        automaton.Add(b"(?i:%s)" % raw if needle.folded else raw)
    for pattern in other_writings(known):
        automaton.Add(pattern)
    automaton.Compile()
    return automaton.Match
