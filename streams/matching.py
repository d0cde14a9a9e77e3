"""Alertmanager's label matchers: reading them from text, checking them, matching label sets. Pure.

Regular expressions are RE2's (the dialect Alertmanager has), anchored at both ends, so no pattern takes more than
linear time. A label that is absent has the empty value. Source: alertmanager 0.25 pkg/labels/{parse,matcher}.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import re2

from schemas.alerts import Matcher

MAX_PATTERN = 4096
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 8 << 20
_MATCHER = re.compile(r"\s*([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(=~|=|!=|!~)\s*(.*?)\s*", re.DOTALL)
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_OPERATORS = {(False, True): "=", (False, False): "!=", (True, True): "=~", (True, False): "!~"}


def is_label_name(name: str) -> bool:
    return bool(_LABEL.fullmatch(name))


def compiled(pattern: str) -> Any:
    """The RE2 program of an anchored `pattern`. Raises ValueError saying what is wrong with it."""
    return expression(pattern, "^(?:{})$")


def expression(pattern: str, form: str = "{}") -> Any:
    """The same of `pattern` put into `form`: by default as it is, to be searched for."""
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"regular expression over {MAX_PATTERN} characters")
    program, wrong = _compiled(pattern, form)
    if wrong:
        raise ValueError(wrong)
    return program


@lru_cache(maxsize=4096)
def _compiled(pattern: str, form: str) -> tuple[Any, str]:
    """The program, or what is wrong: a bad one on a topic is met again and again."""
    try:
        return re2.compile(form.format(pattern), options=_OPTIONS), ""
    except re2.error as error:
        text = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        return None, f"regular expression {pattern[:100]!r} (RE2): {text}"


def matches_value(matcher: Matcher, value: str) -> bool:
    hit = compiled(matcher.value).search(value) is not None if matcher.is_regex else matcher.value == value
    return hit is matcher.is_equal


def matches(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether every one of `matchers` holds."""
    return all(matches_value(matcher, labels.get(matcher.name, "")) for matcher in matchers)


def check(matcher: Matcher) -> Matcher:
    """`matcher` itself. Raises ValueError when its name is no label name or its expression no RE2."""
    if not is_label_name(matcher.name):
        raise ValueError(f"{matcher.name[:100]!r} is not a label name (letters, digits, _; not starting with a digit)")
    if matcher.is_regex:
        compiled(matcher.value)
    return matcher


def parse_matcher(text: str) -> Matcher:
    """One matcher: `name="value"`, with = != =~ !~, quotes optional. Raises ValueError."""
    found = _MATCHER.fullmatch(text)
    if found is None:
        raise ValueError(f'bad matcher {text[:100]!r}: expected name="value" with =, !=, =~ or !~')
    name, operator, raw = found.groups()
    return check(
        Matcher(name=name, value=_unquoted(raw), is_regex=operator in ("=~", "!~"), is_equal=operator in ("=", "=~"))
    )


def parse_matchers(text: str) -> list[Matcher]:
    """Several, separated by commas outside quotes, braces optional: `{a="b", c=~"d|e"}`. Raises ValueError."""
    tokens: list[str] = []
    token: list[str] = []
    quoted = escaped = False
    for char in text.removeprefix("{").removesuffix("}"):
        if char == "," and not quoted:
            tokens.append("".join(token))
            token = []
            continue
        if char == '"' and not escaped:
            quoted = not quoted
        escaped = char == "\\" and not escaped
        token.append(char)
    if rest := "".join(token).strip():
        tokens.append(rest)
    return [parse_matcher(each) for each in tokens]


def _unquoted(raw: str) -> str:
    expects_quote = raw.startswith('"')
    text = raw[1:] if expects_quote else raw
    out: list[str] = []
    escaped = False
    for index, char in enumerate(text):
        last = index == len(text) - 1
        if escaped:
            escaped = False
            out.append({"n": "\n", '"': '"', "\\": "\\"}.get(char, "\\" + char))
        elif char == "\\" and not last:
            escaped = True
        elif char == '"':
            if not expects_quote or not last:
                raise ValueError(f"matcher value contains an unescaped double quote: {raw[:100]}")
            expects_quote = False
        else:
            out.append(char)
    if expects_quote:
        raise ValueError(f"matcher value lacks its closing double quote: {raw[:100]}")
    return "".join(out)


def escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def render(matcher: Matcher) -> str:
    return f'{matcher.name}{_OPERATORS[matcher.is_regex, matcher.is_equal]}"{escaped(matcher.value)}"'


def render_all(matchers: Iterable[Matcher]) -> str:
    """As Alertmanager's route keys have them: sorted by name, then value, in braces."""
    ordered = sorted(matchers, key=lambda m: (m.name, m.value, render(m)))
    return "{" + ",".join(map(render, ordered)) + "}"
