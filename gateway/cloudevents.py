"""CloudEvents 1.0 over HTTP (the HTTP protocol binding and JSON format): binary, structured and batched. Pure.

Data stays the bytes it came as. Source: https://github.com/cloudevents/spec/tree/v1.0.2/cloudevents/bindings
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from urllib.parse import unquote

import msgspec

from gateway.problems import Problem
from schemas.base import UNREADABLE
from streams.errors import Invalid

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
ATTRIBUTES = ("specversion", "id", "source", "type", "subject", "time", "dataschema")
MAX_EVENTS = 10_000
MAX_EXTENSIONS = 32
MAX_VALUE = 1024
_NAME = re.compile(r"[a-z0-9]{1,20}")

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
    extensions: dict[str, str] = {}
    """Attributes the standard does not name; they go on with the record."""

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


def read(headers: Mapping[str, str], body: bytes) -> list[CloudEvent | str]:
    """The events of one request; in a batch, for those that are none: why. Raises Invalid, 415 for another format."""
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
    known = {*told, "traceparent", "datacontenttype"}
    more = {name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")}
    told["traceparent"] = headers.get("ce-traceparent", headers.get("traceparent", ""))
    if content_type:
        told["datacontenttype"] = content_type
    try:
        event = msgspec.convert(told, CloudEvent)
        extensions = _extensions({name: value for name, value in more.items() if name not in known})
    except ValueError as error:
        raise Invalid("cloudevent", f"ce-* headers: {_told(error)}", {0: _told(error)}) from None
    return msgspec.structs.replace(event, data=msgspec.Raw(body), extensions=extensions)


def _structured(body: bytes) -> CloudEvent:
    try:
        event = msgspec.json.decode(body, type=CloudEvent)
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        more = {name: _value(raw) for name, raw in members.items() if name not in CloudEvent.__struct_fields__}
        return msgspec.structs.replace(event, extensions=_extensions(more))
    except (*UNREADABLE, ValueError) as error:
        raise Invalid("cloudevent", _told(error), {0: _told(error)}) from None


def _value(raw: msgspec.Raw) -> Any:
    return msgspec.json.decode(raw)


def _extensions(given: Mapping[str, Any]) -> dict[str, str]:
    """As text, those that say something. Raises ValueError for what is no attribute of the standard."""
    out: dict[str, str] = {}
    for name, value in given.items():
        if value is None:
            continue
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name[:64]!r}: attributes have names of lower-case letters and digits, at most 20")
        if not isinstance(value, str | int):
            raise ValueError(f"{name}: expected text, an integer or a boolean")
        out[name] = str(value).lower() if isinstance(value, bool) else str(value)
        if len(out[name]) > MAX_VALUE or len(out) > MAX_EXTENSIONS:
            raise ValueError(f"{name}: at most {MAX_EXTENSIONS} attributes of {MAX_VALUE} characters")
    return out


def _batch(body: bytes) -> list[CloudEvent | str]:
    try:
        items = msgspec.json.decode(body, type=list[msgspec.Raw])
    except UNREADABLE as error:
        raise Invalid("cloudevent", f"the batch is not a JSON array: {error}") from None
    if len(items) > MAX_EVENTS:
        raise Invalid("too_large", f"{len(items)} events: at most {MAX_EVENTS} in one batch")
    out: list[CloudEvent | str] = []
    for item in items:
        try:
            out.append(_structured(bytes(item)))
        except Invalid as error:
            out.append(error.detail)
    return out


def _told(error: Exception) -> str:
    return str(error).replace("`$.", "`")[:500]
