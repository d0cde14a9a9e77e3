"""The rules a worker has: read from the shipped files and the user's folder, compiled per input, replaced together."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple

import structlog

from schemas.rule_document import Rule
from streams.rules.cycles import complaint, cycles
from streams.rules.document import parse_document
from streams.rules.inputs import INPUTS
from streams.rules.matcher import Matcher

log = structlog.get_logger(__name__)

SHIPPED = "shipped"


class RuleSet:
    """Immutable. `complete`: every file could be read, so a rule that is not here is gone. `rules`: by `Rule.key`."""

    def __init__(self, rules: Iterable[Rule], *, complete: bool = True) -> None:
        self.rules = {rule.key: rule for rule in rules if rule.enabled}
        self.hashes = {name: rule.hash for name, rule in self.rules.items()}
        self.complete = complete
        self.matchers = {
            topic: Matcher(source, mine)
            for topic, source in INPUTS.items()
            if (mine := [rule for rule in self.rules.values() if topic in rule.topics])
        }


class RuleFile(NamedTuple):
    name: str
    text: str
    shipped: bool = False


def shipped() -> list[RuleFile]:
    """The rules that come with Eventsphere (deploy/rules)."""
    folder = resources.files("deploy").joinpath("rules")
    return [RuleFile(f"{SHIPPED}/{f.name}", f.read_text("utf-8"), True) for f in _yaml(folder)]


def _yaml(folder: Traversable) -> list[Traversable]:
    if not folder.is_dir():
        return []
    files = [f for f in folder.iterdir() if f.name.endswith((".yaml", ".yml")) and not f.name.startswith(".")]
    return sorted(files, key=lambda f: f.name)


def in_folder(folder: str, what: str = "rule files") -> tuple[list[RuleFile], list[str]]:
    """The rule files (or what else is in YAML) of a folder, and which of it cannot be read."""
    out: list[RuleFile] = []
    errors: list[str] = []
    if not Path(folder).is_dir():
        return [], [f"{folder}:1: expected a folder with {what}"]
    for file in _yaml(Path(folder)):
        found, wrong = _one(Path(folder) / file.name)
        out += found
        errors += wrong
    return out, errors


class Checked(NamedTuple):
    file: str
    rules: list[Rule]
    errors: list[str]


def checked(path: Path) -> list[Checked]:
    """What a file, or each file of a folder, holds and what is wrong with it; names must differ across a folder."""
    if path.is_dir():
        files, errors = in_folder(str(path))
        if not files and not errors:
            errors = [f"{path}:1: expected *.yaml files in this folder"]
    else:
        files, errors = _one(path) if path.exists() else ([], [f"{path}: there is no such file or folder"])
    out = [Checked(error.split(":", 1)[0], [], [error]) for error in errors]
    taken: dict[str, Rule] = {}
    for file in files:
        rules, wrong = parse_document(file.text, file.name)
        for rule in rules:
            other = taken.setdefault(rule.name, rule)
            if other is not rule:
                wrong.append(_taken(rule, other))
        out.append(Checked(file.name, rules, wrong))
    for rule, way in cycles(taken.values()):
        next(each for each in out if each.file == rule.file).errors.append(complaint(rule, way))
    return out


def _one(path: Path) -> tuple[list[RuleFile], list[str]]:
    try:
        return [RuleFile(str(path), path.read_text("utf-8"))], []
    except (OSError, UnicodeDecodeError) as error:
        return [], [f"{path}:1: cannot be read: {error}"]


def _taken(rule: Rule, other: Rule) -> str:
    return f"{rule.file}:{rule.line}: {rule.name}: the name is taken in {other.file}:{other.line}"


def _merged(into: dict[str, Rule], rules: Iterable[Rule]) -> list[str]:
    """Adds rules by key, but those whose name is taken: errors of these are returned."""
    errors = []
    for rule in rules:
        other = into.get(rule.key)
        if other is not None and not other.file.startswith(f"{SHIPPED}/"):
            errors.append(_taken(rule, other))
        else:
            into[rule.key] = rule
    return errors


class Loader:
    """Reads rules again and again: a file that became wrong keeps the rules it last had."""

    def __init__(self, folder: str = "") -> None:
        self._folder = folder
        self._good: dict[str, list[Rule]] = {}
        self.errors: list[str] = []

    def load(self, stored: Iterable[Rule] = (), *, complete: bool = True) -> RuleSet:
        """A user's rule replaces a shipped one of the same name. Errors are logged with file and line, not raised.
        `stored`: rules of the API; `complete`: these are all."""
        files, errors = in_folder(self._folder) if self._folder else ([], [])
        merged: dict[str, Rule] = {}
        complete = complete and not errors
        for file in [*shipped(), *files]:
            rules, wrong = parse_document(file.text, file.name)
            if not wrong:
                self._good[file.name] = rules
            errors += wrong
            complete = complete and (not wrong or file.name in self._good)
            errors += _merged(merged, self._good.get(file.name, []))
        errors += _merged(merged, stored)
        for rule, way in cycles(merged.values()):
            errors.append(complaint(rule, way))
            merged.pop(rule.key)
        self.errors = errors
        for line in errors:
            log.error("rules.refused", error=line)
        return RuleSet(merged.values(), complete=complete)
