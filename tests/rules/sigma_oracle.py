"""What a Sigma detection says of a record: a plain interpreter of the specification, text by text, without patterns."""

from __future__ import annotations

import ipaddress
import re
from itertools import product
from typing import Any

MISSING = object()
MANY, ONE = object(), object()


def says(detection: dict[str, Any], record: dict[str, Any]) -> bool:
    searches = {name: search(each, record) for name, each in detection.items() if name != "condition"}
    return Condition(detection["condition"], searches).value()


def search(given: Any, record: dict[str, Any]) -> bool:
    if isinstance(given, dict):
        return all(field(key, values, record) for key, values in given.items())
    each_of = given if isinstance(given, list) else [given]
    return any(search(each, record) if isinstance(each, dict) else keyword(each, record) for each in each_of)


def keyword(value: Any, record: dict[str, Any]) -> bool:
    wanted = [MANY, *characters(str(value)), MANY]
    return any(like(wanted, record[name], cased=False) for name in ("log", "message", "msg") if name in record)


def field(key: str, given: Any, record: dict[str, Any]) -> bool:
    name, *modifiers = key.split("|")
    values = given if isinstance(given, list) else [given]
    if not name:
        found = [keyword(value, record) for value in values]
        return all(found) if "all" in modifiers else any(found)
    actual: Any = record
    for part in name.split("."):
        actual = actual.get(part, MISSING) if isinstance(actual, dict) else MISSING
    found = [one(actual, value, modifiers, record) for value in values]
    out = all(found) if "all" in modifiers else any(found)
    return not out if "neq" in modifiers else out


def one(actual: Any, value: Any, modifiers: list[str], record: dict[str, Any]) -> bool:  # noqa: C901 one kind after the other
    if "exists" in modifiers:
        return (actual is not MISSING) is value
    if value is None:
        return actual is MISSING or actual is None
    if actual is MISSING or actual is None:
        return False
    if order := next((name for name in ("lt", "lte", "gt", "gte") if name in modifiers), None):
        if isinstance(actual, (str, bool)):
            return False
        return bool({"lt": actual < value, "lte": actual <= value, "gt": actual > value, "gte": actual >= value}[order])
    if "fieldref" in modifiers:
        other = record.get(value, MISSING)
        if isinstance(actual, str) and isinstance(other, str):
            return actual.lower() == other.lower()
        return isinstance(actual, bool) == isinstance(other, bool) and bool(actual == other)
    if "cidr" in modifiers:
        try:
            return ipaddress.ip_address(actual) in ipaddress.ip_network(value)
        except ValueError:
            return False
    if "re" in modifiers:
        flags = re.IGNORECASE if "i" in modifiers else 0
        return isinstance(actual, str) and re.search(value, actual, flags) is not None
    places = [name for name in ("contains", "startswith", "endswith") if name in modifiers]
    if not places and not isinstance(actual, str):
        return str(actual) == str(value)
    if not isinstance(actual, str):
        return False
    before = [MANY] if set(places) & {"contains", "endswith"} else []
    after = [MANY] if set(places) & {"contains", "startswith"} else []
    texts = dashed(str(value)) if "windash" in modifiers else [str(value)]
    return any(like([*before, *characters(text), *after], actual, cased="cased" in modifiers) for text in texts)


def dashed(text: str) -> list[str]:
    """Every flag's dash as every kind of dash: of those before a word and not after one."""
    places = [
        at
        for at, char in enumerate(text)
        if char in "-/"
        and not (at and (text[at - 1].isalnum() or text[at - 1] == "_"))
        and at + 1 < len(text)
        and (text[at + 1].isalnum() or text[at + 1] == "_")
    ]
    out = []
    for kinds in product("-/–—―", repeat=len(places)):  # noqa: RUF001
        changed = list(text)
        for at, kind in zip(places, kinds, strict=True):
            changed[at] = kind
        out.append("".join(changed))
    return out


def characters(text: str) -> list[Any]:
    out: list[Any] = []
    at = 0
    while at < len(text):
        if text[at] == "\\" and text[at + 1 : at + 2] in ("*", "?", "\\") and text[at + 1 : at + 2]:
            out.append(text[at + 1])
            at += 2
            continue
        out.append({"*": MANY, "?": ONE}.get(text[at], text[at]))
        at += 1
    return out


def like(wanted: list[Any], text: str, *, cased: bool) -> bool:
    """Whether all of `text` is as wanted, character by character."""
    reached = {0}
    for each in wanted:
        if each is MANY:
            reached = set(range(min(reached), len(text) + 1)) if reached else set()
        else:
            reached = {
                at + 1
                for at in reached
                if at < len(text)
                and (each is ONE or text[at] == each or (not cased and text[at].lower() == each.lower()))
            }
    return len(text) in reached


class Condition:
    """Evaluates while it reads: or, and, not, brackets, `1 of`, `all of`."""

    def __init__(self, text: str, searches: dict[str, bool]) -> None:
        self._words = re.findall(r"[()]|[^\s()]+", text)
        self._searches = searches

    def value(self) -> bool:
        out = self._both()
        while self._words[:1] == ["or"]:
            self._words.pop(0)
            right = self._both()
            out = out or right
        return out

    def _both(self) -> bool:
        out = self._not()
        while self._words[:1] == ["and"]:
            self._words.pop(0)
            right = self._not()
            out = out and right
        return out

    def _not(self) -> bool:
        word = self._words.pop(0)
        if word == "not":
            return not self._not()
        if word == "(":
            out = self.value()
            self._words.pop(0)
            return out
        if word in ("1", "any", "all") and self._words[:1] == ["of"]:
            self._words.pop(0)
            which = self._words.pop(0)
            found = [
                value
                for name, value in self._searches.items()
                if not name.startswith("_") and (which == "them" or name.startswith(which.rstrip("*")))
            ]
            return all(found) if word == "all" else any(found)
        return self._searches[word]
