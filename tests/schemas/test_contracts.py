"""What others build on: a breaking change is found, AsyncAPI and Connect's form say what the schemas say."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from schemas import compatibility
from schemas.asyncapi import document
from schemas.catalogue import declared
from schemas.compatibility import breaks, broken, released
from schemas.connect import connect_schema, table_schema
from schemas.jsonschema import schema

PUBLIC = sorted(name for name, topic in declared().items() if topic.public)


def test_nothing_breaks_programs_of_the_last_release() -> None:
    assert released()
    assert broken() == []


def struct(now: dict[str, Any], name: str = "Alert") -> Any:
    return now["$defs"][name]


def without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda now: struct(now)["properties"].pop(name)


def with_field(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda now: struct(now)["properties"].__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without("annotations"), "annotations: is gone"),
        (with_field("starts_at_ms", {"type": "string"}), "starts_at_ms: was integer, is string"),
        (with_field("starts_at_ms", {"type": "integer", "minimum": 5}), "starts_at_ms: minimum is 5, was none"),
        (with_field("source", {"type": "string", "pattern": "^a"}), "source: has to match ^a"),
        (with_field("source", {"enum": ["a"]}), "source: takes only a now"),
        (with_field("labels", {"type": "object", "additionalProperties": {"type": "integer"}}), "labels.*: was string"),
        (lambda now: struct(now)["required"].append("source"), "source: has to be given now"),
        (lambda now: struct(now)["required"].remove("labels"), "labels: need no longer be there"),
        (lambda now: struct(now, "Evidence")["properties"].pop("offset"), "evidence[].offset: is gone"),
        (lambda now: struct(now, "Acknowledged")["properties"].pop("by"), "acknowledged.by: is gone"),
    ],
)
def test_a_breaking_change_is_named(change: Callable[[dict[str, Any]], object], told: str) -> None:
    now = copy.deepcopy(dict(schema(declared()["alerts"])))
    change(now)
    found = breaks(schema(declared()["alerts"]), now)
    assert any(each.startswith(told) for each in found), found


@pytest.mark.parametrize(
    "change",
    [
        with_field("new", {"type": "string", "default": ""}),
        with_field("source", {"type": "string", "default": "", "description": "other words"}),
    ],
)
def test_what_only_adds_breaks_nobody(change: Callable[[dict[str, Any]], object]) -> None:
    now = copy.deepcopy(dict(schema(declared()["alerts"])))
    change(now)
    assert breaks(schema(declared()["alerts"]), now) == []


@pytest.mark.parametrize("name", PUBLIC)
def test_a_schema_breaks_nothing_of_its_own(name: str) -> None:
    assert breaks(schema(declared()[name]), schema(declared()[name])) == []


def test_an_enum_may_grow_and_not_shrink() -> None:
    one, two = {"enum": ["a"]}, {"enum": ["a", "b"]}
    assert breaks({"properties": {"x": one}}, {"properties": {"x": two}}) == []
    assert breaks({"properties": {"x": two}}, {"properties": {"x": one}}) == ["x: is never b any more"]


def test_a_release_is_what_the_next_is_compared_with(tmp_path: Path) -> None:
    compatibility.release(tmp_path)
    assert broken(tmp_path) == []
    (tmp_path / "gone.json").write_text("{}", "utf-8")
    assert broken(tmp_path) == ["gone: is no public topic any more"]


def test_asyncapi_has_every_public_topic_and_its_references_lead_somewhere() -> None:
    whole = document()
    assert sorted(channel["address"] for channel in whole["channels"].values()) == PUBLIC
    for operation in whole["operations"].values():
        assert _at(whole, operation["channel"]["$ref"])
    for channel in whole["channels"].values():
        for message in channel["messages"].values():
            assert _at(whole, message["$ref"])["payload"]["schema"]
    received = {
        _at(whole, op["channel"]["$ref"])["address"] for op in whole["operations"].values() if op["action"] == "receive"
    }
    assert received == {name for name in PUBLIC if declared()[name].publish}


def _at(whole: Any, reference: str) -> Any:
    for part in reference.removeprefix("#/").split("/"):
        whole = whole[part]
    return whole


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_of_asyncapi_fits_its_schema(name: str) -> None:
    message = document()["components"]["messages"][name.replace(".", "-")]
    jsonschema_rs.validate(message["payload"]["schema"], message["examples"][0]["payload"])


@pytest.mark.parametrize("name", PUBLIC)
def test_connects_form_takes_the_example(name: str) -> None:
    topic = declared()[name]
    _take(connect_schema(topic), json.loads(topic.example), name)


def _take(form: dict[str, Any], value: Any, where: str) -> None:
    """As JsonConverter reads: by the schema's fields; what it does not name is passed over."""
    if value is None:
        assert form.get("optional"), where
        return
    match form["type"]:
        case "struct":
            for field in form["fields"]:
                if field["field"] in value:
                    _take(field, value[field["field"]], f"{where}.{field['field']}")
                else:
                    assert field.get("optional") or "default" in field, f"{where}.{field['field']}"
        case "map":
            for name, each in value.items():
                _take(form["values"], each, f"{where}.{name}")
        case "array":
            for each in value:
                _take(form["items"], each, where)
        case scalar:
            kinds: dict[str, type] = {"string": str, "int64": int, "boolean": bool, "double": float}
            assert isinstance(value, kinds[scalar]), where


def test_columns_of_a_table() -> None:
    form = table_schema(declared()["alerts.state"], ["labels.severity"])
    fields = {field["field"]: field for field in form["fields"]}
    assert [field["field"] for field in fields["labels"]["fields"]] == ["severity"]
    assert "evidence" not in fields
    assert "annotations" not in fields
    with pytest.raises(ValueError, match=r"state: alerts\.state has no such texts by name"):
        table_schema(declared()["alerts.state"], ["state.x"])
