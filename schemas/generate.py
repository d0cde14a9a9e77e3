"""Writes `schemas/generated/` from the code: `<topic>.json` (JSON Schema), `connect/<topic>.json` (Kafka Connect's
form) and `asyncapi.json`. `make docs`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas.asyncapi import document
from schemas.catalogue import declared
from schemas.connect import connect_schema
from schemas.jsonschema import schema

FOLDER = Path(__file__).with_name("generated")


def rendered() -> dict[str, str]:
    """Path in the folder -> text."""
    out = {f"{name}.json": schema(topic) for name, topic in declared().items()}
    out |= {f"connect/{name}.json": connect_schema(topic) for name, topic in declared().items() if topic.public}
    out["asyncapi.json"] = document()
    return {name: _text(value) for name, value in out.items()}


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"


def write(folder: Path = FOLDER) -> None:
    """Make the folder hold exactly what the code says today."""
    (folder / "connect").mkdir(parents=True, exist_ok=True)
    files = rendered()
    for path in folder.rglob("*.json"):
        if path.relative_to(folder).as_posix() not in files:
            path.unlink()
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    write()
