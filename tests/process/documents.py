"""Records and documents for the tests of the `process` step."""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.process_document import Document
from streams.batch import Batch, batch_of
from streams.process.document import parse_document
from streams.process.processor import Processor
from streams.record import Record


def documents(text: str) -> list[Document]:
    """The documents of a file that has to be right."""
    found, errors = parse_document(text, "file.yaml")
    assert not errors, errors
    return found


def processor(text: str) -> Processor:
    return Processor(documents(text))


def value(log: Any, *, namespace: str = "shop", pod: str = "web-7d9c8f6b5-x2kzp", **more: Any) -> bytes:
    about = {"namespace_name": namespace, "pod_name": pod, "container_name": "web"} | more.pop("about", {})
    return msgspec.json.encode({"log": log, "stream": "stdout", "cluster": "prod", "kubernetes": about, **more})


def batch(*values: bytes | None, keyed: bool = True, first: int = 0) -> Batch:
    records = [
        Record("logs", 0, first + at, b"chunk-%d" % (first + at) if keyed else None, each, 1_795_608_000_000)
        for at, each in enumerate(values)
    ]
    return batch_of(records, topic_id="T")


def left(found: Batch | None) -> list[dict[str, Any]]:
    """The records of a batch, decoded."""
    return [] if found is None else [msgspec.json.decode(message.value() or b"") for message in found.messages]
