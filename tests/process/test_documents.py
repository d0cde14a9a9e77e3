"""Processing documents: what is read of them, and that all that is wrong is told: line, field, what is expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.process_document import Document, Drop, Form, Join, Mask, Parse, Preset, Sample, Select, Traces
from streams.errors import Fatal
from streams.process.document import parse_document
from streams.process.held import Documents, checked
from tests.process.documents import documents

GOOD = """\
documents:
  - name: probes
    select: {namespace: [shop, "dev-*"], labels: {tier: front}, where: 'log.contains("/healthz")'}
    steps: [drop]
  - name: debug
    select: {workload: web}
    steps:
      - sample: {keep: 1, of: 10}
      - mask: {patterns: [mail, card], own: ['iban=(\\w+)'], replacement: "[x]", fields: [log]}
      - parse: {as: pattern, pattern: 'status=(?P<status>\\d+)', from: message, into: seen}
  - name: lines
    enabled: false
    steps:
      - join: {traces: [java, go], max_lines: 50}
"""
PROBLEMS = [
    ("documents: [{steps: [drop]}]", "file.yaml:1: documents[0]: expected name: letters, digits, _ . : -"),
    ("documents:\n  - name: a\n    step: [drop]", "file.yaml:3: documents[0].step: no such field: did you mean steps?"),
    ("document: []", "file.yaml:1: document: no such field: did you mean documents?"),
    ("documents: [{name: a}]", "documents[0]: expected steps: a list of drop, sample, mask, parse, join"),
    ("documents: [{name: a, steps: [dorp]}]", "steps[0]: expected one of drop, sample, mask, parse, join, with its"),
    ("documents: [{name: a, steps: [{sample: {keep: 10}}]}]", "expected of: 1 record of how many is kept"),
    ("documents: [{name: a, steps: [{sample: {keep: 10, of: 10}}]}]", "keep from 1, less than of"),
    ("documents: [{name: a, steps: [{mask: {}}]}]", "expected patterns: a list of mail, token, card; or own"),
    ("documents: [{name: a, steps: [{mask: {patterns: [iban]}}]}]", "patterns[0]: expected one of mail, token, card"),
    ("documents: [{name: a, steps: [{mask: {own: ['(?=a)']}}]}]", "own[0]: not an RE2 pattern: invalid perl operator"),
    ("documents: [{name: a, steps: [{mask: {own: ['a{9999}']}}]}]", "own[0]: not an RE2 pattern: invalid repetition"),
    ("documents: [{name: a, steps: [{mask: {own: ['x*']}}]}]", "own[0]: matches empty text"),
    ("documents: [{name: a, steps: [{parse: {as: xml}}]}]", "parse.as: expected one of json, logfmt, pattern"),
    ("documents: [{name: a, steps: [{parse: {as: pattern, pattern: 'a(b)'}}]}]", "expected named groups"),
    ("documents: [{name: a, steps: [{parse: {as: json, into: log}}]}]", "into: expected a name of letters"),
    ("documents: [{name: a, steps: [drop, {join: {}}]}]", "steps[1]: join comes first"),
    ("documents: [{name: a, steps: [{join: {partial: false}}]}]", "expected partial: true, traces"),
    ("documents: [{name: a, steps: [{join: {max_bytes: 99999999}}]}]", "max_bytes: expected 2 to 921600"),
    ("documents: [{name: a, select: {where: 'log ='}, steps: [drop]}]", "select.where:"),
    ("documents: [{name: a, select: {namespace: []}, steps: [drop]}]", "namespace: expected a name, a glob"),
    ("documents: [{name: a, steps: [drop]}, {name: a, steps: [drop]}]", "the name is taken by the document in line 1"),
    ("documents: [{name: a, steps: [{drop: {}, mask: {}}]}]", "expected one step"),
    ("documents: {", "not YAML"),
    ("", "is empty"),
]


def test_a_file_is_read_with_its_defaults() -> None:
    probes, debug, lines = documents(GOOD)
    assert probes == Document(
        name="probes",
        select=Select(namespace=("shop", "dev-*"), labels={"tier": ("front",)}, where='log.contains("/healthz")'),
        steps=(Drop(),),
        file="file.yaml",
        line=2,
    )
    assert debug.steps == (
        Sample(keep=1, of=10),
        Mask(presets=(Preset.MAIL, Preset.CARD), patterns=(r"iban=(\w+)",), replacement="[x]", fields=("log",)),
        Parse(form=Form.PATTERN, pattern=r"status=(?P<status>\d+)", source="message", into="seen"),
    )
    assert lines.join == Join(traces=(Traces.JAVA, Traces.GO), max_lines=50)
    assert not lines.enabled


@pytest.mark.parametrize(("text", "expected"), PROBLEMS, ids=[str(number) for number in range(len(PROBLEMS))])
def test_what_is_wrong_is_told(text: str, expected: str) -> None:
    found, errors = parse_document(text, "file.yaml")
    assert not found
    assert any(expected in line for line in errors), errors


def test_all_errors_of_a_file_are_told_in_order() -> None:
    text = "documents:\n- name: a\n  select: {pod: ''}\n  steps: [drop]\n- name: b\n  steps:\n  - sample: {}\n"
    _, errors = parse_document(text, "f")
    assert [line.split(":")[1] for line in errors] == ["3", "7"]


def test_names_differ_across_a_folder(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("documents: [{name: same, steps: [drop]}]")
    results = checked(tmp_path)
    assert [len(result.errors) for result in results] == [0, 1]
    assert f"{tmp_path}/b.yaml:1: same: the name is taken in {tmp_path}/a.yaml:1" in results[1].errors


def test_shipped_examples_are_right() -> None:
    results = checked(Path("deploy/process"))
    assert results
    assert not [line for result in results for line in result.errors]


# held by a process


def test_without_a_folder_there_is_nothing_to_do() -> None:
    held = Documents("")
    held.start()
    assert (held.processor, held.joiner, held.refresh()) == (None, None, False)


def test_documents_that_ask_for_nothing_cost_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("documents: [{name: a, enabled: false, steps: [drop]}]")
    held = Documents(str(tmp_path))
    held.start()
    assert (held.processor, held.joiner) == (None, None)


def test_changed_files_are_read_again(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("documents: [{name: first, steps: [drop]}]")
    held = Documents(str(tmp_path))
    held.start()
    before = held.processor
    assert not held.refresh()
    assert held.processor is before

    file.write_text("documents: [{name: second, steps: [drop]}]")
    assert held.refresh()
    assert held.processor is not None
    assert [document.name for document in held.processor.documents] == ["second"]

    (tmp_path / "b.yaml").write_text("documents: [{name: lines, steps: [{join: {}}]}]")
    assert held.refresh()
    assert held.joiner is not None

    file.unlink()
    assert held.refresh()
    assert held.processor is None


def test_a_file_that_became_wrong_keeps_its_documents(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("documents: [{name: first, steps: [drop]}]")
    held = Documents(str(tmp_path))
    held.start()
    file.write_text("documents: [{name: first, steps: [drpo]}]")
    assert not held.refresh()
    assert held.processor is not None
    assert "steps[0]: expected one of" in held.errors[0]
    file.unlink()
    assert held.refresh()
    assert held.processor is None
    assert not held.errors


def test_while_the_folder_is_away_nothing_changes(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "a.yaml").write_text("documents: [{name: first, steps: [drop]}]")
    held = Documents(str(folder))
    held.start()
    folder.rename(tmp_path / "elsewhere")
    assert not held.refresh()
    assert held.processor is not None
    assert held.errors == [f"{folder}:1: expected a folder with processing documents"]


def test_wrong_documents_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("documents: [{name: first, steps: [{mask: {patterns: [mial]}}]}]")
    with pytest.raises(Fatal, match=r"a\.yaml:1: .*expected one of mail, token, card"):
        Documents(str(tmp_path)).start()
