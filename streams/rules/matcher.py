"""The rules of one input, compiled together: raw records -> which conditions are true of which. Pure.

Bytes first (streams/rules/prefilter.py): a condition is asked only of records that hold what it needs. Conditions of
which nothing is known are asked of every record, over just the fields they look at (streams/rules/partial.py). A record
is decoded whole when it is to be asked more, or has matched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import orjson

from schemas.rule_document import LEVEL_LABELS, Rule
from streams.rules.compiler import Evaluate, compile_all
from streams.rules.conditions import asked as conditions_of
from streams.rules.conditions import reader
from streams.rules.document import label_name
from streams.rules.inputs import INPUTS, Input
from streams.rules.parser import parse_path
from streams.rules.partial import partial
from streams.rules.paths import at
from streams.rules.prefilter import BLOCK, Gate
from streams.rules.subject import LABELS, text

MANY = 16
"""One of so many conditions is asked by itself; of more, all are: the one function shares what they have in common."""


class Grouping(NamedTuple):
    """What gives an alert of one rule its labels: names of the subject, and fields of the record."""

    subject: tuple[str, ...]
    needed: str
    """The label that must be known of a record."""
    fields: tuple[tuple[str, tuple[str | int, ...]], ...]

    def of(self, subject: dict[str, str], record: dict[str, Any]) -> dict[str, str] | None:
        """The group of a record, None when it lacks what the rule's level is about."""
        if not subject.get(self.needed):
            return None
        out = {name: subject.get(name, "") for name in self.subject}
        for name, parts in self.fields:
            out[name] = text(at(record, parts))
        return out


def grouping(rule: Rule, topic: str) -> Grouping:
    """Of records of one of the rule's topics: the labels are the same for all."""
    level = LEVEL_LABELS[rule.level]
    more = [name for name in rule.group_by if name in LABELS]
    texts = [(_label(rule, name), name) for name in rule.group_by if name not in LABELS]
    texts += [(label, dict(fields)[topic]) for label, fields in rule.keys]
    aliases = INPUTS[topic].aliases
    return Grouping(
        (*level, *more), level[-1], tuple((label, parse_path(text, aliases).parts) for label, text in texts)
    )


def _label(rule: Rule, field: str) -> str:
    return label_name(parse_path(field, INPUTS[rule.input].aliases))


def parse(value: bytes) -> dict[str, Any] | None:
    """The record in `value`, out of its CloudEvents envelope (structured mode) if it has one; None when it is none."""
    try:
        record = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(record, dict):
        return None
    if "specversion" in record and isinstance(record.get("data"), dict):
        inner: dict[str, Any] = record["data"]
        return inner
    return record


class Hits(NamedTuple):
    position: int
    record: dict[str, Any]
    conditions: list[int]
    """Those that are true of it, ascending; at least one."""


class Looked:
    """`hits` in the order of the records; how many were `refused` by their bytes, `parsed`, and were no JSON object (as
    far as they had to be parsed)."""

    def __init__(self) -> None:
        self.hits: list[Hits] = []
        self.refused = 0
        self.parsed = 0
        self.malformed = 0
        self.errors: Counter[int] = Counter()
        """Conditions that could not be evaluated, by number, and how often."""


class Matcher:
    def __init__(self, source: Input, rules: list[Rule]) -> None:
        self.source = source
        self.rules = rules
        self.hashes = [rule.hash for rule in rules]
        self.keys = [(rule.key, hash_) for rule, hash_ in zip(rules, self.hashes, strict=True)]
        self.groupings = [grouping(rule, source.topic) for rule in rules]
        self.readers = [reader(rule, source.topic) for rule in rules]
        conditions = [
            (number, *each) for number, rule in enumerate(rules) for each in conditions_of(rule, source.topic)
        ]
        self.trees = [tree for _, _, tree in conditions]
        self.parts = [(number, step) for number, step, _ in conditions]
        """Whose condition each is: position of the rule, and which of its conditions."""
        self.evaluate: Evaluate = compile_all(self.trees)
        self.gate = Gate(self.trees)
        always = [self.trees[number] for number in self.gate.always]
        self._partial = partial(always) if always else None
        self._always: Evaluate = compile_all(always)
        self._singles: dict[int, Evaluate] = {}

    def look(self, values: Sequence[bytes | None]) -> Looked:
        """Values that are None are no records."""
        out = Looked()
        for first in range(0, len(values), BLOCK):
            part = values[first : first + BLOCK]
            block = [value for value in part if value is not None]
            places = range(len(part)) if len(block) == len(part) else _filled(part)
            self._block(block, [first + place for place in places], out)
        return out

    def one(self, value: bytes) -> bool:
        """Whether any condition is true of a record."""
        return bool(self.look([value]).hits)

    def single(self, number: int) -> Evaluate:
        """One condition by itself: [0] where it is true."""
        if number not in self._singles:
            self._singles[number] = compile_all([self.trees[number]])
        return self._singles[number]

    def costs(self, values: Sequence[bytes], cpu_s: Callable[[], float]) -> dict[int, float]:
        """CPU seconds that one record takes of each rule, by its number: those asked at all, each by itself."""
        out: Counter[int] = Counter()
        for value in values:
            asked = self.gate.look([value]).get(0, [])
            numbers = range(len(self.trees)) if asked is None else [*asked, *self.gate.always]
            record = parse(value) if numbers else None
            for number in numbers if record is not None else ():
                single, began = self.single(number), cpu_s()
                with suppress(Exception):  # counted where it is evaluated for good
                    single(record or {})
                out[self.parts[number][0]] += cpu_s() - began  # type: ignore[assignment]
        return {number: cost_s / len(values) for number, cost_s in out.items()}

    def _block(self, values: list[bytes], places: Sequence[int], out: Looked) -> None:
        seen = self.gate.look(values)
        if self.gate.always:
            self._every(values, places, seen, out)
            return
        out.refused += len(values) - len(seen)
        for position, asked in seen.items():
            self._whole(values[position], places[position], asked, out)

    def _every(self, values: list[bytes], places: Sequence[int], seen: dict[int, Any], out: Looked) -> None:
        """There are conditions to ask of every record."""
        asked_of_all = self._partial
        for position, value in enumerate(values):
            if asked_of_all is not None and position not in seen:
                try:
                    record = asked_of_all.decode(value)
                    if not asked_of_all.enveloped(record) and not asked_of_all.evaluate(record):
                        out.parsed += 1
                        continue
                except Exception:  # noqa: S110 whatever it does not take is decoded whole
                    pass
            self._whole(value, places[position], seen.get(position, []), out)

    def _whole(self, value: bytes, place: int, asked: list[int] | None, out: Looked) -> None:
        out.parsed += 1
        record = parse(value)
        if record is None:
            out.malformed += 1
        elif true := self._true(record, asked, out):
            out.hits.append(Hits(place, record, true))

    def _true(self, record: dict[str, Any], asked: list[int] | None, out: Looked) -> list[int]:
        always = self.gate.always
        try:
            if asked is None or len(asked) * MANY > len(self.trees):
                return self.evaluate(record)
            found = [number for number in asked if self.single(number)(record)]
            if always:
                found = sorted(found + [always[each] for each in self._always(record)])
        except Exception:
            return self._one_by_one(record, range(len(self.trees)) if asked is None else sorted([*asked, *always]), out)
        return found

    def _one_by_one(self, record: dict[str, Any], asked: Iterable[int], out: Looked) -> list[int]:
        """One of them cannot be evaluated: the others are."""
        found = []
        for number in asked:
            try:
                if self.single(number)(record):
                    found.append(number)
            except Exception:
                out.errors[number] += 1
        return found


def _filled(values: Sequence[bytes | None]) -> list[int]:
    return [position for position, value in enumerate(values) if value is not None]
