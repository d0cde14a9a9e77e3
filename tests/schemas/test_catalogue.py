"""The catalogue is whole: each topic has a schema and an example that fit, and old records stay readable."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from schemas.base import FIRST_MS, LAST_MS, rfc3339
from schemas.catalogue import STATEFUL, Topic, catalogue, declared, dlq_name

GOLDEN = Path(__file__).parent / "golden"
TOPICS = sorted(declared())
NAME = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")


def struct_of(topic: Topic) -> type[Any] | None:
    """The record's struct; None where the catalogue says any object (`logs`)."""
    module, _, name = topic.schema.partition(".")
    return getattr(importlib.import_module(f"schemas.{module}"), name) if name else None


@pytest.mark.parametrize("name", TOPICS)
def test_a_topic_is_fully_described(name: str) -> None:
    topic = declared()[name]
    assert NAME.fullmatch(name)
    assert topic.key
    assert topic.record
    assert topic.producers
    assert topic.consumers
    assert topic.cleanup in ("delete", "compact")
    if topic.cleanup == "delete":
        assert topic.retention_hours > 0
        assert topic.retention_gib > 0


@pytest.mark.parametrize("name", TOPICS)
def test_the_example_is_a_record_of_the_schema(name: str) -> None:
    topic = declared()[name]
    struct = struct_of(topic)
    if struct is None:
        assert isinstance(json.loads(topic.example), dict)
    else:
        assert msgspec.json.decode(topic.example, type=struct)


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.json")), ids=lambda file: file.stem)
def test_a_record_written_by_an_older_version_is_read(file: Path) -> None:
    """Files of `golden` are only ever added: `<topic>.<n>.json` was once written by a release."""
    topic = declared()[file.stem.rpartition(".")[0]]
    struct = struct_of(topic)
    if struct is None:
        assert isinstance(json.loads(file.read_bytes()), dict)
        return
    record = msgspec.json.decode(file.read_bytes(), type=struct)
    again = msgspec.json.decode(msgspec.json.encode(record), type=struct)
    assert again == record
    stored = json.loads(file.read_bytes())
    for field, value in json.loads(msgspec.json.encode(record)).items():
        assert field in stored, field
        if not isinstance(value, dict | list):
            assert stored[field] == value


def test_every_topic_has_a_golden_record() -> None:
    assert {file.stem.rpartition(".")[0] for file in GOLDEN.glob("*.json")} == set(TOPICS)


def test_unknown_fields_are_ignored_by_readers() -> None:
    for name in TOPICS:
        struct = struct_of(declared()[name])
        if struct is not None:
            example = json.loads(declared()[name].example) | {"from_the_future": {"a": [1]}}
            assert msgspec.json.decode(json.dumps(example), type=struct)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (LAST_MS, "9999-12-31T23:59:59.999Z"),
        (LAST_MS + 1, "9999-12-31T23:59:59.999Z"),
        (10**40, "9999-12-31T23:59:59.999Z"),
        (FIRST_MS, "0001-01-01T00:00:00.000Z"),
        (-(10**40), "0001-01-01T00:00:00.000Z"),
    ],
)
def test_every_number_is_shown_as_a_time(ms: int, text: str) -> None:
    assert rfc3339(ms) == text


def test_dead_letter_and_state_topics_belong_to_the_catalogue() -> None:
    whole = catalogue()
    for topic in declared().values():
        assert (dlq_name(topic.name) in whole) == topic.dead_letters
    for agent, like in STATEFUL.items():
        assert whole[f"state.{agent}"].partitions == declared()[like].partitions
        assert whole[f"state.{agent}"].cleanup == "compact"


def test_a_dead_letter_fits_where_the_original_did() -> None:
    for topic in declared().values():
        if topic.dead_letters:
            assert catalogue()[dlq_name(topic.name)].max_message_mib >= topic.max_message_mib


@pytest.mark.parametrize("name", TOPICS)
def test_every_record_names_its_cluster(name: str) -> None:
    topic = declared()[name]
    struct = struct_of(topic)
    assert struct is None or "cluster" in struct.__struct_fields__
    assert json.loads(topic.example)["cluster"]
