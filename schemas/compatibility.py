"""What changed in a topic's JSON Schema since the last release that programs of others would stumble over. Pure.

A record is read and written by others who know the released schema only: a field they read must stay, be there as
surely and be of the same kind; what they write must still be taken. Fields may be added, if none has to give them.
`python -m schemas.compatibility` compares; with `--release` it makes today's schemas the released ones.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from schemas.catalogue import declared
from schemas.jsonschema import schema

FOLDER = Path(__file__).with_name("released")
Schema = Mapping[str, Any]
LIMITS = {"minimum": -1, "exclusiveMinimum": -1, "minLength": -1, "minItems": -1}
LIMITS |= {"maximum": 1, "exclusiveMaximum": 1, "maxLength": 1, "maxItems": 1}
"""A greater value of this takes less (-1) or more (1)."""


def breaks(before: Schema, now: Schema) -> list[str]:
    """Each change that breaks somebody, as `field.path: what`."""
    return list(_compared(before, now, before, now, "", frozenset()))


def _compared(
    old: Schema, new: Schema, old_root: Schema, new_root: Schema, path: str, above: frozenset[str]
) -> Iterator[str]:
    reference = str(old.get("$ref", ""))
    if reference in above:  # a type that holds itself
        return
    above = above | {reference} if reference else above
    old, new = _resolved(old, old_root), _resolved(new, new_root)
    if (was := _kinds(old, old_root)) != (is_ := _kinds(new, new_root)):
        yield f"{path or 'record'}: was {_words(was)}, is {_words(is_)}"
        return
    yield from _values(old, new, path)

    def inside(before: Schema, now: Schema, name: str) -> Iterator[str]:
        return _compared(before, now, old_root, new_root, name, above)

    for one, other in zip(_alternatives(old, old_root), _alternatives(new, new_root), strict=False):
        if one is not old:
            yield from inside(one, other, path)
    then, today = old.get("properties", {}), new.get("properties", {})
    for name, field in then.items():
        where = f"{path}.{name}" if path else name
        if name not in today:
            yield f"{where}: is gone"
        else:
            yield from inside(field, today[name], where)
    must, must_now = set(old.get("required", ())), set(new.get("required", ()))
    yield from (f"{path}.{name}".strip(".") + ": need no longer be there" for name in sorted(must - must_now))
    yield from (f"{path}.{name}".strip(".") + ": has to be given now" for name in sorted(must_now - must))
    for name, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if isinstance(old.get(name), dict) and isinstance(new.get(name), dict):
            yield from inside(old[name], new[name], path + mark)


def _values(old: Schema, new: Schema, path: str) -> Iterator[str]:
    if "enum" in old or "enum" in new:
        gone = [each for each in old.get("enum", ()) if each not in new.get("enum", old.get("enum", ()))]
        if gone:
            yield f"{path}: is never {', '.join(map(str, gone))} any more"
        if "enum" not in old:
            yield f"{path}: takes only {', '.join(map(str, new['enum']))} now"
    for limit, sign in LIMITS.items():
        if limit in new and (limit not in old or (new[limit] - old[limit]) * sign < 0):
            yield f"{path}: {limit} is {new[limit]}, was {old.get(limit, 'none')}"
    if new.get("pattern", "") != old.get("pattern", "") and "pattern" in new:
        yield f"{path}: has to match {new['pattern']}"


def _resolved(value: Schema, root: Schema) -> Schema:
    """Without its reference; what stands beside it (the root's `$schema`) stays out."""
    while "$ref" in value:
        value = root["$defs"][str(value["$ref"]).rpartition("/")[2]]
    return value


def _alternatives(value: Schema, root: Schema) -> list[Schema]:
    """`anyOf`, the null among it last, so that two of them stand in the same order."""
    found = [_resolved(each, root) for each in value.get("anyOf", (value,))]
    return sorted(found, key=lambda each: each.get("type") == "null")


def _kinds(value: Schema, root: Schema) -> frozenset[str]:
    out: set[str] = set()
    for each in _alternatives(value, root):
        kind = each.get("type", "string" if "enum" in each else "any")
        out |= set(kind) if isinstance(kind, list) else {str(kind)}
    return frozenset(out)


def _words(kinds: frozenset[str]) -> str:
    return " or ".join(sorted(kinds))


def released(folder: Path = FOLDER) -> dict[str, Schema]:
    """The schemas of the last release, by topic."""
    return {file.stem: json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*.json"))}


def broken(folder: Path = FOLDER) -> list[str]:
    """What today breaks of the last release, of the topics others may use."""
    out = []
    for name, before in released(folder).items():
        topic = declared().get(name)
        if topic is None or not topic.public:
            out.append(f"{name}: is no public topic any more")
        else:
            out += [f"{name}: {each}" for each in breaks(before, schema(topic))]
    return out


def release(folder: Path = FOLDER) -> None:
    """Make the schemas of today the released ones."""
    folder.mkdir(exist_ok=True)
    for file in folder.glob("*.json"):
        file.unlink()
    for name, topic in declared().items():
        if topic.public:
            (folder / f"{name}.json").write_text(json.dumps(schema(topic), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--release"]:
        release()
    elif found := broken():
        sys.exit("\n".join([*found, "these break programs of others; they are compared with schemas/released"]))
