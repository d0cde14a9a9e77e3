"""Records are mostly not parsed, and never at the price of a match: against each condition by itself over all of it."""

from __future__ import annotations

import json
import random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rule_document import Rule
from streams.rules.conditions import conditions as conditions_of
from streams.rules.inputs import INPUTS
from streams.rules.literals import Needle, needles
from streams.rules.matcher import Matcher, parse
from streams.rules.parser import parse as tree_of
from streams.rules.partial import partial
from streams.rules.prefilter import Gate

WORDS = [
    "",
    "error",
    'say "no" \\ now',
    "a/b/c",
    "größe",
    "ERROR",
    "\u212aelvin \u017fs",
    "kelvin ss",
    "a\nb",
    "<tag>",
    "x",
]
FIELDS = ["log", "log", "log", "a", "o.x", "o.y", "o", "l[0]", 'o["k/y"]', "specversion", "data.log", "o.x.z"]
NUMBERS = ["0", "3", "-1.5", "9007199254740993", "1e300"]
PATTERNS = ["(?i)ERROR", "(?i)kelvin ss", "err(or|atic)", "(?i:say) .no", "a/b", r"\\ now", "gr(ö|o)ße", "e+rror|^x$"]


class Maker:
    """Random conditions and records about the same few words, so that many are true."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.words = self.rng.sample(WORDS, 3)

    def word(self) -> str:
        return self.rng.choice(self.words)

    def quoted(self) -> str:
        return json.dumps(self.word(), ensure_ascii=False)

    def atom(self) -> str:
        field, number = self.rng.choice(FIELDS), self.rng.choice(NUMBERS)
        field = self.rng.choice((field, field, field, f"{field}.lowerAscii()"))
        match self.rng.randrange(12):
            case 0 | 1 | 2 | 3:
                return f"{field}.{self.rng.choice(('contains', 'startsWith', 'endsWith'))}({self.quoted()})"
            case 4 | 5:
                return f"{field}.matches({json.dumps(self.rng.choice(PATTERNS))})"
            case 6:
                return f"{field} {self.rng.choice(('==', '!='))} {self.quoted()}"
            case 7:
                return f"{field} in [{self.quoted()}, {self.quoted()}]"
            case 8:
                return f"{self.quoted()} in {field}"
            case 9:
                return f"{field} {self.rng.choice(('>', '<=', '=='))} {number}"
            case 10:
                return f"{field} == {self.rng.choice(FIELDS)}"
        return self.rng.choice((f"has({field})", f"size({field}) > 2", f"string({field}).contains({self.quoted()})"))

    def condition(self, depth: int = 0) -> str:
        if depth == 3 or self.rng.random() < 0.5:
            return self.atom()
        left, right = self.condition(depth + 1), self.condition(depth + 1)
        return self.rng.choice((f"({left} && {right})", f"({left} || {right})", f"!({left})"))

    def scalar(self) -> Any:
        if self.rng.random() < 0.7:
            return self.rng.choice(("{}", "x {} y", "{0} and {0}")).format(self.word())
        return self.rng.choice((0, 3, True, None, 2**60, -1.5))

    def object(self) -> Any:
        keys = [key for key in ("x", "y", "k/y") if self.rng.random() < 0.6]
        return self.scalar() if self.rng.random() < 0.3 else {key: self.scalar() for key in keys}

    def record(self) -> dict[str, Any]:
        out = {"log": self.scalar(), "a": self.scalar(), "o": self.object(), "l": [self.scalar()]}
        out = {key: value for key, value in out.items() if self.rng.random() < 0.8}
        if self.rng.random() < 0.1:
            out |= {"specversion": "1.0", "data": self.object()}
        if self.rng.random() < 0.2:
            out = {"specversion": "1.0", "data": out}
        return out


def _escaped(rng: random.Random) -> Any:
    """A writer that escapes whatever it likes."""

    def write(value: Any) -> bytes:
        out: list[str] = []
        quoted = after = False
        for char in json.dumps(value, ensure_ascii=rng.random() < 0.5):
            if char == '"' and not after:
                quoted = not quoted
            after = char == "\\" and not after
            plain = quoted and char.isalnum() and char.isascii() and not after
            out.append(f"\\u{ord(char):04x}" if plain and "\\" not in out[-6:] and rng.random() < 0.2 else char)
        return "".join(out).encode()

    return write


WAYS = (0, 1, 2, 3, 3, 3, 4, 5, 6, 7)


def _written(value: Any, how: int) -> bytes:
    match how:
        case 0:
            return orjson.dumps(value)
        case 1:
            return json.dumps(value, indent=1).encode()
        case 2:
            return json.dumps(value, ensure_ascii=False).replace("/", "\\/").encode()
        case 3:
            found: bytes = _escaped(random.Random(1))(value)
            return found
        case 4:
            return orjson.dumps(value)[:-1]
        case 5:
            return orjson.dumps([value])
        case 6:  # the last of two fields of one name holds
            return b'{"o": {"x": "error", "y": 3}, "log": "error", ' + orjson.dumps(value)[1:]
    return orjson.dumps(value).replace(b"1152921504606846976", b"123456789012345678901234567890")


def rules(texts: list[str]) -> list[Rule]:
    out = []
    for number, where in enumerate(texts):
        rule = Rule(name=f"r{number}", input="logs", where=where)
        try:
            conditions_of(rule)
        except ValueError:
            continue  # types that never fit
        out.append(rule)
    return out


def plainly(matcher: Matcher, value: bytes) -> list[int]:
    found = parse(value)
    return [n for n in range(len(matcher.trees)) if found is not None and matcher.single(n)(found)]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 62))
def test_no_match_is_lost_and_none_is_made_up(seed: int) -> None:
    maker = Maker(seed)
    texts = [maker.condition() for _ in range(6)]
    given_records = [(maker.record(), maker.rng.choice(WAYS)) for _ in range(8)]
    matcher = Matcher(INPUTS["logs"], rules(texts))
    values = [json_.replace(b"}{", b"") for json_ in (_written(value, how) for value, how in given_records)]
    looked = matcher.look([*values, None, *values])
    wanted = [plainly(matcher, value) for value in values]
    places = [*range(len(values)), *range(len(values) + 1, 2 * len(values) + 1)]
    assert [(hit.position, hit.conditions) for hit in looked.hits] == [
        (place, conditions) for place, conditions in zip(places, wanted * 2, strict=True) if conditions
    ]
    assert all(hit.record == parse(([*values, None, *values])[hit.position] or b"") for hit in looked.hits)
    assert looked.refused + looked.parsed == 2 * len(values)
    assert not looked.errors


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ('log.contains("/var/log")', [Needle(b"/var/log")]),
        (r'log.endsWith("\\cmd.exe")', [Needle(rb"\\cmd.exe")]),
        ("log.contains('say \"no\"')", [Needle(rb"say \"no\"")]),
        ('log.matches("(?i)Failed Login")', [Needle(b"failed login", True)]),
        ('log.matches("user (?i:ROOT) in")', [Needle(b"user "), Needle(b"root", True), Needle(b" in")]),
        ('log.contains("größe und")', [Needle(b"e und")]),
        ('"secret-thing" in tags', [Needle(b"secret-thing")]),
        ('log.contains("long enough") && pod == "abc"', [Needle(b"long enough"), Needle(b"abc")]),
        ('!(log.contains("no need"))', []),
        ('log.contains("ab")', []),
        ('log.lowerAscii().contains("cmd.exe")', [Needle(b"cmd.exe", True)]),
        ('log.lowerAscii() in ["whoami", "ipconfig"]', [Needle(b"whoami", True), Needle(b"ipconfig", True)]),
        ('string(status).contains("500")', []),
    ],
)
def test_what_a_condition_needs(where: str, found: list[Needle]) -> None:
    assert {needle for need in needles(tree_of(where)) for needle in need} == set(found)


def test_most_records_are_not_parsed() -> None:
    gate = Gate([tree_of(f'log.contains("needle {n} of") && pod == "pod-{n}"') for n in range(100)])
    hay = b'{"log": "nothing of that, \\u001b[31mred", "pod": "pod-7"}'
    assert gate.look([hay] * 20) == {}
    both, one = b'{"log": "needle 7 of", "pod": "pod-7"}', b'{"log": "needle 8 of", "pod": "pod-7"}'
    assert gate.look([hay, both, one, hay.replace(b"red", b"r\\u0065d")]) == {1: [7], 3: None}


def test_the_rarest_need_is_asked_first_once_that_is_known() -> None:
    gate = Gate([tree_of(f'log.contains("a very common beginning") && log.contains("id-{n}")') for n in range(50)])
    common = b'{"log": "a very common beginning of a line"}'
    for _ in range(300):
        assert gate.look([common] * 31 + [b'{"log": "a very common beginning, id-3"}']) == {31: [3]}
    assert max(map(len, gate._asked)) == 1


def test_only_asked_fields_are_decoded_where_the_answer_is_the_same() -> None:
    assert partial([tree_of("status > 500 && has(kubernetes.labels.app)")]) is not None
    for whole in ("status > 9007199254740993", "a == b", "a + 1 > 3", 'string(a) == "1"', "record.l[0] == record.a"):
        assert partial([tree_of(whole)]) is None, whole


def test_a_rule_that_fails_fails_alone() -> None:
    matcher = Matcher(INPUTS["logs"], rules(['log.contains("err")', "size(log) > 2", "has(log)"]))

    def broken(_record: Any) -> list[int]:
        raise RecursionError

    matcher.evaluate = broken
    matcher._always = broken
    matcher._partial = None
    matcher._singles[1] = broken
    looked = matcher.look([b'{"log": "an err"}', b'{"log": "fine"}'])
    assert [hit.conditions for hit in looked.hits] == [[0, 2], [2]]
    assert looked.errors == {1: 2}
