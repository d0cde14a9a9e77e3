"""What is to be masked in a text: presets and own RE2 patterns, as finders of spans in UTF-8 bytes. Pure.

`RAW` patterns find in raw JSON what a preset may find in the texts of it: records they do not match are never parsed.
They are about characters JSON writes in one way (but for \\u00xx, which the caller looks for).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any as Opaque

import re2

from schemas.process_document import Preset
from streams.rules.literals import of_pattern

Span = tuple[int, int]
Find = Callable[[bytes], list[Span]]

MAX_PATTERN = 1000
PATTERN_MEMORY = 2 << 20
MAX_SPANS = 10_000
"""Matches in one text; what comes after them is replaced whole."""
_UNANCHORED = re2._re2.RE2.Anchor.UNANCHORED

_MAIL = rb"[\w.%+'\x80-\xff-]+@[\w\x80-\xff-]+(?:\.[\w\x80-\xff-]+)*\.[A-Za-z\x80-\xff]{2,}"
"""Over bytes, all of other alphabets' being letters: a tenth of the states, half the time."""
_SECRET = r"(?:api[_-]?key|access[_-]?key|private[_-]?key|secret|token|passw(?:or)?d|passwd)"  # noqa: S105
SECRET_KEY = rf"(?i)(?:{_SECRET}|authorization|cookie)$"
"""Ends of names of fields whose whole text is a secret."""
_TOKENS = (
    r"(?i)\b(?:bearer|basic)[ :]+([\w.~+/=-]{8,})",
    rf"""(?i){_SECRET}\\?["']?\s*=\s*\\?["']?([^\s"',;&\\]{{4,}})""",
    rf"""(?i){_SECRET}\\?["']\s*:\s*\\?["']([^\s"',;&\\]{{4,}})""",
    r"\b(eyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?)",
    r"\b((?:AKIA|ASIA)[A-Z0-9]{16})\b",
    r"\b((?:gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|[sr]k_(?:live|test)_|sk-|est_|npm_|dop_v1_)[\w-]{10,})",
    r"\b(AIza[\w-]{35})",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----([^-]+)",
    r"""://[^\s/:@]+:([^\s/@"]+)@""",
)
"""Authorization headers; `password=...` and the same in JSON; JSON web tokens; keys of AWS, GitHub, GitLab, Slack,
Stripe, OpenAI, Eventsphere, npm, DigitalOcean, Google; private keys; passwords in URLs."""
_CARD = (
    r"[2-6][0-9]{12,18}"
    r"|[2-6][0-9]{3}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{4}(?:[ -][0-9]{3})?"
    r"|3[47][0-9]{2}[ -][0-9]{6}[ -][0-9]{5}"
)

RAW: dict[Preset, bytes] = {
    Preset.MAIL: rb'[^"]@[^"]',
    Preset.TOKEN: (
        rb"(?i:bearer|basic[ :]|api[_-]?key|access[_-]?key|private[_-]?key|secret|token|passw|authorization|cookie)"
        rb"|eyJ|AKIA|ASIA|gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|[sr]k_|sk-|est_|npm_|dop_v1_|AIza|PRIVATE KEY"
        rb"""|:[^/@"\s]+@"""
    ),
    Preset.CARD: rb"[2-6][0-9]{12}|[2-6][0-9]{3}[ -][0-9]{4}[ -]|3[47][0-9]{2}[ -][0-9]{6}[ -]",
}


def compiled(text: str | bytes) -> Opaque:
    """An RE2 pattern over UTF-8 text (given as bytes: over bytes), bounded in the memory it takes. Raises ValueError
    with RE2's words."""
    if len(text) > MAX_PATTERN:
        raise ValueError(f"longer than {MAX_PATTERN} characters")
    options = re2.Options()
    options.max_mem = PATTERN_MEMORY
    options.log_errors = False
    if isinstance(text, bytes):
        options.encoding = re2.Options.Encoding.LATIN1
    try:
        return re2.compile(text.encode() if isinstance(text, str) else text, options)
    except re2.error as error:
        reason = error.args[0]
        why = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"not an RE2 pattern: {why}") from None


def finder(text: str | bytes) -> Find:
    """Finds what a pattern matches; only its groups where it has any. Raises ValueError."""
    pattern = compiled(text)
    match, first = pattern._regexp.Match, 1 if pattern.groups else 0

    def find(data: bytes) -> list[Span]:
        out: list[Span] = []
        at, size = 0, len(data)
        for _ in range(MAX_SPANS):
            spans = match(_UNANCHORED, data, at, size)
            start, end = spans[0]
            if start < 0:
                return out
            out += [span for span in spans[first:] if span[1] > span[0] >= 0]
            at = end if end > at else at + 1
            if at > size:
                return out
        return [*out, (at, size)]

    return find


def detecting(raw: bytes) -> Callable[[bytes], bool]:
    """Whether a pattern for raw JSON matches in it."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.never_capture = True
    options.never_nl = True
    match = re2._re2.RE2(raw, options).Match

    def test(data: bytes) -> bool:
        return bool(match(_UNANCHORED, data, 0, len(data))[0][0] >= 0)

    return test


def sorting(raws: Sequence[bytes | None]) -> Callable[[bytes], list[int]]:
    """Which of the patterns for raw JSON match in it, in one pass; those that are None always do."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.never_capture = True
    options.never_nl = True
    always = [number for number, raw in enumerate(raws) if raw is None]
    numbers = [number for number, raw in enumerate(raws) if raw is not None]
    if not numbers:
        return lambda data: always
    found = re2.Set.SearchSet(options)
    for raw in raws:
        if raw is not None:
            found.Add(raw)
    found.Compile()
    match = found.Match

    def sort(data: bytes) -> list[int]:
        hits = match(data)
        return sorted([*always, *(numbers[hit] for hit in hits)]) if hits else always

    return sort


def raw_of(text: str) -> bytes | None:
    """What raw JSON holds wherever `text`, a pattern of one's own, may match; None: nothing is known."""
    literals = of_pattern(text)
    return b"|".join(re2.escape(literal) for literal in sorted(literals)) if literals else None


def _cards() -> Find:
    numbers = finder(_CARD)

    def find(data: bytes) -> list[Span]:
        found = [(start, _card_end(data, start, end)) for start, end in numbers(data) if not _digit(data, start - 1)]
        return [span for span in found if span[1]]

    return find


def _digit(data: bytes, at: int) -> bool:
    return 0 <= at < len(data) and 48 <= data[at] <= 57


def _card_end(data: bytes, start: int, end: int) -> int:
    """Where the card number that begins at `start` ends, at `end` or before; 0 when there is none."""
    ends = [start + place + 1 for place, byte in enumerate(data[start:end]) if 48 <= byte <= 57]
    digits = [data[at - 1] - 48 for at in ends]
    counts = {len(digits): None} if data[start:end].isdigit() else dict.fromkeys((len(digits), 16))
    for count in counts:
        if count <= len(digits) and not _digit(data, ends[count - 1]) and luhn(digits[:count]):
            return ends[count - 1]
    return 0


def luhn(digits: Sequence[int]) -> bool:
    """The check digit of card numbers (ISO/IEC 7812-1, annex B)."""
    doubled = sum(sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + doubled) % 10 == 0


def together(finders: Iterable[Find]) -> Find:
    found = list(finders)

    def find(data: bytes) -> list[Span]:
        return [span for each in found for span in each(data)]

    return find


PRESETS: dict[Preset, Find] = {
    Preset.MAIL: finder(_MAIL),
    Preset.TOKEN: together(map(finder, _TOKENS)),
    Preset.CARD: _cards(),
}


def replaced(data: bytes, spans: Sequence[Span], replacement: bytes) -> bytes:
    """`data` with each of the spans replaced; those that touch or overlap as one."""
    if len(spans) == 1:
        ((start, end),) = spans
        return b"%b%b%b" % (data[:start], replacement, data[end:])
    out: list[bytes] = []
    done = 0
    merged: list[list[int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    for start, end in merged:
        out += [data[done:start], replacement]
        done = end
    return b"".join([*out, data[done:]])
