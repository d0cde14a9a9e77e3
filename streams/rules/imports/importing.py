"""Files of foreign rules -> outcomes, and the rule files they make. Files are read here, the rest is pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from streams.rules.imports import elastalert, falco, kubesphere, sigma
from streams.rules.imports.draft import Outcome, checked, named, slug, written
from streams.rules.imports.formats import Format
from streams.rules.imports.mapping import Mapped
from streams.yaml_nodes import MAX_BYTES, Errors, Node, read_all

MAX_FILES = 20_000
MARK = "# Imported by `eventsphere rules import`: a further import replaces this file."


class Text(NamedTuple):
    name: str
    text: str


class Written(NamedTuple):
    """A rule file: its name, its text, how many rules it holds."""

    name: str
    text: str
    rules: int


def files_of(paths: Iterable[Path]) -> tuple[list[Text], list[Outcome]]:
    """The texts of files, and of *.yaml and *.yml below folders, in order of their names; and what cannot be read."""
    out: list[Text] = []
    wrong: list[Outcome] = []
    for given in paths:
        found = _below(given) if given.is_dir() else [given]
        if not found:
            wrong.append(Outcome(str(given), 1, "", None, "expected *.yaml or *.yml files in this folder"))
        for path in found[:MAX_FILES]:
            try:
                if path.stat().st_size > MAX_BYTES:
                    raise ValueError(f"larger than {MAX_BYTES >> 20} MiB")
                out.append(Text(str(path), path.read_text("utf-8-sig")))
            except (OSError, ValueError) as error:
                wrong.append(Outcome(str(path), 1, "", None, f"cannot be read: {error}"))
        if len(found) > MAX_FILES:
            wrong.append(Outcome(str(given), 1, "", None, f"more than {MAX_FILES} files"))
    return out, wrong


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.y*ml") if path.suffix in (".yaml", ".yml") and path.is_file())


def imported(files: Sequence[Text], format_: Format | None = None, mapped: Mapped | None = None) -> list[Outcome]:
    """What becomes of every rule of the files. `format_` None: guessed of each document."""
    mapped = mapped or Mapped()
    out: list[Outcome] = []
    together: list[tuple[str, Node]] = []
    loaded: list[tuple[str, Node]] = []
    for file in files:
        errors = Errors(file.name)
        roots = read_all(file.text, file.name, errors)
        out += _unread(file.name, errors)
        for root in roots:
            kind = format_ or guessed(root)
            if kind is Format.SIGMA and not root.is_list and sigma.is_rule(root.fields()):
                together.append((file.name, root))
            elif kind is Format.FALCO and falco.is_rules(root):
                loaded.append((file.name, root))
            else:
                out += _of_document(file.name, root, kind, mapped)
    out += sigma.outcomes(together, mapped)
    out += falco.outcomes(loaded)
    return [checked(each) for each in out]


def _of_document(file: str, root: Node, kind: Format | None, mapped: Mapped) -> list[Outcome]:
    if kind is None:
        return [Outcome(file, root.line, "", None, "not of a format known here: give --format")]
    before = set(str(root.errors).splitlines())
    if found := list(_READERS[kind](file, root, mapped)):
        return found
    complaints = [line for line in str(root.errors).splitlines() if line not in before]
    return [
        Outcome(file, root.line, "", None, complaints[0].split(": ", 1)[-1] if complaints else f"no rule of {kind}")
    ]


def _unread(name: str, errors: Errors) -> Iterator[Outcome]:
    for line in str(errors).splitlines():
        number, _, reason = line.removeprefix(f"{name}:").partition(":")
        yield Outcome(name, int(number), "", None, reason.strip())


def guessed(root: Node) -> Format | None:
    if falco.is_rules(root):
        return Format.FALCO
    fields = {} if root.is_list or root.is_text else root.fields()
    if kubesphere.objects(root):
        return Format.KUBE_EVENTS
    if sigma.is_rule(fields):
        return Format.SIGMA
    if elastalert.is_rule(fields):
        return Format.ELASTALERT
    return None


def _kubesphere(file: str, root: Node, _mapped: Mapped) -> Iterator[Outcome]:
    for each in kubesphere.objects(root):
        yield from kubesphere.outcomes(file, each)


_READERS: dict[Format, Callable[[str, Node, Mapped], Iterable[Outcome]]] = {
    Format.KUBE_EVENTS: _kubesphere,
    Format.ELASTALERT: elastalert.outcomes,
    Format.SIGMA: lambda _file, _root, _mapped: (),
    Format.FALCO: lambda _file, _root, _mapped: (),
}


def documents(outcomes: Iterable[Outcome]) -> list[Written]:
    """One rule file for each file that rules were taken from."""
    by_file: dict[str, list[tuple[str, Outcome]]] = {}
    for name, outcome in named(outcomes):
        if outcome.draft is not None:
            by_file.setdefault(outcome.file, []).append((name, outcome))
    out, taken = [], set[str]()
    for file, found in by_file.items():
        base = name = slug(Path(file).stem, "rules")
        number = 2
        while name in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name)
        drafts = [(rule, outcome.draft) for rule, outcome in found if outcome.draft is not None]
        out.append(Written(f"{name}.yaml", f"{MARK}\n{written(name, drafts)}", len(drafts)))
    return out
