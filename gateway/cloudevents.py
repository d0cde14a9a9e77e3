"""CloudEvents 1.0 over HTTP (the HTTP protocol binding and JSON format): binary, structured and batched. Pure.

Data stays the bytes it came as. Source: https://github.com/cloudevents/spec/tree/v1.0.2/cloudevents/bindings
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import unquote

import msgspec

from gateway.problems import Problem
from schemas.base import UNREADABLE
from streams.errors import Invalid

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
ATTRIBUTES = ("specversion", "id", "source", "type", "subject", "time", "dataschema")
MAX_EVENTS = 10_000

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    specversion: Literal["1.0"]
    id: Text
    source: Text
    type: Text
    subject: Annotated[str, msgspec.Meta(max_length=1024)] = ""
    time: Annotated[str, msgspec.Meta(max_length=64)] = ""
    dataschema: str = ""
    datacontenttype: str = "application/json"
    traceparent: Annotated[str, msgspec.Meta(max_length=128)] = ""
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str = ""

    def payload(self) -> bytes:
        """The data as JSON bytes. Raises ValueError when it is something else."""
        kind = self.datacontenttype.partition(";")[0].strip().lower()
        if kind not in ("application/json", "text/json") and not kind.endswith("+json"):
            raise ValueError(f"datacontenttype: {kind[:64]!r}: expected JSON")
        if not self.data_base64:
            return bytes(self.data)
        try:
            return base64.b64decode(self.data_base64, validate=True)
        except binascii.Error:
            raise ValueError("data_base64: not base64") from None


def read(headers: Mapping[str, str], body: bytes) -> list[CloudEvent]:
    """The events of one request. Raises Invalid (`indexes` names the bad ones of a batch), 415 for another format."""
    content_type = headers.get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == BATCH:
        return _batch(body)
    if kind == STRUCTURED:
        return [_structured(body)]
    if kind.startswith("application/cloudevents"):
        raise Problem(415, "Unsupported media type", f"{kind}: of CloudEvents' formats only JSON is taken")
    return [_binary(headers, content_type, body)]


def _binary(headers: Mapping[str, str], content_type: str, body: bytes) -> CloudEvent:
    told = {name: unquote(headers[f"ce-{name}"]) for name in ATTRIBUTES if f"ce-{name}" in headers}
    if not told:
        expected = f"expected ce-* headers, or the body as {STRUCTURED} or {BATCH}"
        raise Invalid("cloudevent", f"not a CloudEvent: {expected}")
    told["traceparent"] = headers.get("ce-traceparent", headers.get("traceparent", ""))
    if content_type:
        told["datacontenttype"] = content_type
    try:
        event = msgspec.convert(told, CloudEvent)
    except msgspec.ValidationError as error:
        raise Invalid("cloudevent", f"ce-* headers: {_told(error)}", {0: _told(error)}) from None
    return msgspec.structs.replace(event, data=msgspec.Raw(body))


def _structured(body: bytes) -> CloudEvent:
    try:
        return msgspec.json.decode(body, type=CloudEvent)
    except UNREADABLE as error:
        raise Invalid("cloudevent", _told(error), {0: _told(error)}) from None


def _batch(body: bytes) -> list[CloudEvent]:
    try:
        items = msgspec.json.decode(body, type=list[msgspec.Raw])
    except UNREADABLE as error:
        raise Invalid("cloudevent", f"the batch is not a JSON array: {error}") from None
    if len(items) > MAX_EVENTS:
        raise Invalid("too_large", f"{len(items)} events: at most {MAX_EVENTS} in one batch")
    out, wrong = [], {}
    for index, item in enumerate(items):
        try:
            out.append(_structured(bytes(item)))
        except Invalid as error:
            wrong[index] = error.detail
    if wrong:
        raise Invalid("cloudevent", f"{len(wrong)} of {len(items)} are not CloudEvents", wrong)
    return out


def _told(error: Exception) -> str:
    return str(error).replace("`$.", "`")[:500]
