"""How many records a second one core takes through the rules of an input: bytes in, matches out, nothing sent.

Records of about 500 bytes, one of a hundred matches, nine of ten rules have a literal. The loop it is compared with
decodes a record once and asks each rule by itself. CPU time of this process, so what else runs here counts little.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import orjson

from schemas.rule_document import Level, Rule
from streams.batch import Batch, batch_of
from streams.owners import Owners
from streams.record import Record
from streams.rules.inputs import INPUTS
from streams.rules.matcher import Matcher
from streams.rules.matching import matches
from tests.bench.records import START_MS, records

BATCH = 1000
RECORDS = 100_000
LOOPED = 200_000
"""Evaluations of one rule in the loop that all is compared with."""
MATCHING = 100
"""One of so many records is made to match."""
Made = tuple[list[Rule], list[bytes]]


class Case(NamedTuple):
    name: str
    target: int
    """Records a second and core."""
    make: Callable[[], Made]


class Ran(NamedTuple):
    records_per_s: int
    matched: float
    parsed: float
    loop_per_s: int


def generated(count: int, literals: float = 0.9) -> Made:
    """`count` rules over log records, that share of them with a literal."""
    rng = random.Random(7)
    rules = [_rule(n, _with_literal(n) if n < count * literals else _without(n)) for n in range(count)]
    values = []
    for number, (_, value, _) in enumerate(records(RECORDS)):
        record = msgspec.json.decode(value)
        record |= {"status": rng.choice((200, 204, 404)), "duration_ms": rng.randrange(2000), "node_pool": "general-2"}
        record["trace_id"] = f"{rng.getrandbits(128):032x}"
        if number % MATCHING == 0:
            if literals:
                record["log"] += f" subsystem-{rng.randrange(int(count * literals))} gave up"
            else:
                record["duration_ms"] = 8000 + rng.randrange(count)
                record["kubernetes"]["container_name"] = f"pay{rng.randrange(count)}"
        values.append(orjson.dumps(record))
    return rules, values


def _rule(number: int, where: str, input_: str = "logs") -> Rule:
    return Rule(name=f"rule-{number}", input=input_, where=where, level=Level.CLUSTER)


def _with_literal(number: int) -> str:
    name = f"subsystem-{number} gave up"
    return (
        f'kubernetes.namespace_name == "shop" && log.contains("{name}")',
        f'log.matches("(?i){name}") && stream == "stdout"',
        f'log.endsWith("{name}")',
        f'(log.contains("{name}") || log.contains("{name.upper()}!")) && status != 200',
    )[number % 4]


def _without(number: int) -> str:
    return (
        f"duration_ms == {8000 + number} && status >= 200",
        f"size(log) > {4000 + number}",
        f'duration_ms > 7000 && !(stream in ["stderr", "x{number}"]) && status in [500, {number}]',
        f'log.matches("^[A-Z]+ +[0-9]{{{2 + number % 7}}}:[0-9]+") && !has(kubernetes.annotations)',
    )[number % 4]


def process_creations(count: int = 3000) -> Made:
    """Rules of the shape imported Sigma rules have, over records of started processes."""
    rng = random.Random(9)
    programs = [f"tool{n}.exe" for n in range(400)] + ["cmd.exe", "powershell.exe", "rundll32.exe", "svchost.exe"]

    def where(number: int) -> str:
        flags = " || ".join(f'CommandLine.lowerAscii().contains(" -{word}{number}")' for word in ("enc", "exec", "nop"))
        image = f'Image.lowerAscii().endsWith("\\\\{rng.choice(programs)}")'
        return (
            f"EventID == 1 && {image} && ({flags})",
            f'EventID == 1 && {image} && CommandLine.matches("(?i)-w hidden .*stage{number}")',
            f'EventID == 1 && ParentImage.lowerAscii().endsWith("\\\\parent{number}.exe") && !({flags})',
            f'EventID == {3 + number % 20} && TargetFilename.lowerAscii().contains("\\\\temp\\\\drop{number}")',
        )[number % 4]

    rules = [_rule(number, where(number)) for number in range(count)]
    values = []
    for number in range(RECORDS // 5):
        wanted = rng.randrange(count) // 4 * 4 + 2
        parent = f"parent{wanted}.exe" if number % MATCHING == 0 else rng.choice(programs)
        record = {
            "EventID": 1, "Channel": "Microsoft-Windows-Sysmon/Operational", "Computer": f"host-{number % 50}.corp",
            "Image": f"C:\\Windows\\System32\\{rng.choice(programs)}", "User": "CORP\\someone",
            "CommandLine": f'"C:\\Program Files\\run.exe" --id {rng.getrandbits(64):x} --quiet --out C:\\T\\{number}',
            "ParentImage": f"C:\\Windows\\{parent}", "IntegrityLevel": "Medium", "ProcessId": number,
            "Hashes": f"SHA256={rng.getrandbits(256):064x}", "Company": "Microsoft Corporation",
        }  # fmt: skip
        values.append(orjson.dumps(record))
    return rules, values


CASES = (
    Case("100 rules", 150_000, lambda: generated(100)),
    Case("1000 rules", 100_000, lambda: generated(1000)),
    Case("3000 rules as imported from Sigma", 20_000, process_creations),
    Case("100 rules without a literal", 80_000, lambda: generated(100, literals=0.0)),
)


def run(case: Case, rounds: int = 3) -> Ran:
    """The best of some rounds: CPU time still knows caches and clock rates."""
    rules, values = case.make()
    matcher = Matcher(INPUTS["logs"], rules)
    batches = list(_batches(values))
    best, found = float("inf"), (0, 0)
    for _ in range(rounds):
        began = time.process_time()
        found = _pass(matcher, batches)
        best = min(best, time.process_time() - began)
    return Ran(
        round(len(values) / best), found[0] / len(values), found[1] / len(values), round(1 / _loop(matcher, values))
    )


def _pass(matcher: Matcher, batches: Sequence[Batch]) -> tuple[int, int]:
    matched = parsed = 0
    owned = Owners({})
    for batch in batches:
        found = matches(matcher, batch, cluster="bench", owned=owned, now_ms=START_MS + 60_000_000)
        matched += len(found.matches)
        parsed += found.parsed
    return matched, parsed


def _loop(matcher: Matcher, values: Sequence[bytes]) -> float:
    """CPU seconds a record."""
    asked: list[Any] = [matcher.single(number) for number in range(len(matcher.trees))]
    some = values[: max(100, LOOPED // len(asked))]
    began = time.process_time()
    for value in some:
        record = orjson.loads(value)
        for evaluate in asked:
            evaluate(record)
    return (time.process_time() - began) / len(some)


def _batches(values: Sequence[bytes]) -> Iterator[Batch]:
    for start in range(0, len(values), BATCH):
        yield batch_of([
            Record("logs", 0, start + n, b"key-%d" % (start + n), value, START_MS)
            for n, value in enumerate(values[start : start + BATCH])
        ])  # fmt: skip


def measure(bar: Callable[[str], None] = lambda _name: None) -> dict[str, dict[str, Any]]:
    """By case; `ok`: the target was met."""
    found = {}
    for case in CASES:
        bar(case.name)
        ran = run(case)
        found[case.name] = ran._asdict() | {"target": case.target, "ok": ran.records_per_s >= case.target}
    return found
