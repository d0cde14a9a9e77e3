"""What the fields of KubeSphere's event and audit rules are called in our records. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from streams.rules.imports.conditions import path
from streams.rules.imports.draft import Refused


class Field(NamedTuple):
    """`default`: the value where a record leaves the field out; None: then it has none. `within`: the object that must
    be there for that. `items`: it is a list. `lists`: (a list, what its items are called) on the way to it."""

    name: str
    default: str | float | None = ""
    within: str = ""
    items: bool = False
    lists: tuple[tuple[str, str], ...] = ()


_ITEMS = ("item", "inner")
_REFERENCE = {
    "kind": "kind", "namespace": "namespace", "name": "name", "uid": "uid", "apiVersion": "api_version",
    "fieldPath": "field_path",
}  # fmt: skip
EVENT_FIELDS: dict[str, Field] = {
    "type": Field("type", "Normal"),
    "reason": Field("reason"),
    "message": Field("message"),
    "count": Field("count", 1),
    "action": Field("action"),
    "reportingComponent": Field("reporting_component"),
    "reportingInstance": Field("reporting_instance"),
    "source.component": Field("reporting_component"),
    "source.host": Field("reporting_instance"),
    "metadata.name": Field("name"),
    "metadata.namespace": Field("namespace"),
    "metadata.uid": Field("uid"),
    "metadata.resourceVersion": Field("resource_version"),
    **{f"involvedObject.{theirs}": Field(f"involved.{ours}") for theirs, ours in _REFERENCE.items()},
    **{f"related.{theirs}": Field(f"related.{ours}", within="related") for theirs, ours in _REFERENCE.items()},
}
"""core/v1 Event, as kube-events flattens it -> schemas.kube.KubeEvent."""
_OBJECT = {
    name: Field(f"objectRef.{name}", within="objectRef")
    for name in (
        "resource", "namespace", "name", "uid", "apiGroup", "apiVersion", "resourceVersion", "subresource",
    )
}  # fmt: skip
_STATUS = {name: Field(f"responseStatus.{name}", within="responseStatus") for name in ("status", "reason", "message")}
AUDIT_FIELDS: dict[str, Field] = {
    "workspace": Field("tenant"),
    "level": Field("level"),
    "stage": Field("stage"),
    "auditid": Field("auditID"),
    "requesturi": Field("requestURI"),
    "verb": Field("verb"),
    "useragent": Field("userAgent"),
    "user.username": Field("user.username"),
    "user.uid": Field("user.uid"),
    "user.groups": Field("user.groups", None, items=True),
    "impersonateduser.username": Field("impersonatedUser.username", within="impersonatedUser"),
    "sourceips": Field("sourceIPs", None, items=True),
    "requestreceivedtimestamp": Field("requestReceivedTimestamp"),
    "stagetimestamp": Field("stageTimestamp"),
    "responsestatus.code": Field("responseStatus.code", 0, "responseStatus"),
    **{f"objectref.{name.lower()}": field for name, field in _OBJECT.items()},
    **{f"responsestatus.{name}": field for name, field in _STATUS.items()},
}
"""audit.k8s.io/v1 Event, in any case -> schemas.kube_audit.KubeAuditEvent."""
_FREE = re.compile(r"(?i)(requestobject|responseobject|annotations)\.(.+)")
_PART = re.compile(r"([^\[\]]+)(?:\[([^\]]*)\])?")


def event_field(name: str, line: int) -> Field:
    if name in EVENT_FIELDS:
        return EVENT_FIELDS[name]
    if "[" in name:
        raise Refused(line, f"{name}: events have no lists to look into")
    raise Refused(line, f"{name}: records of kube.events do not have this field")


def audit_field(name: str, line: int) -> Field:
    if field := AUDIT_FIELDS.get(name.lower()):
        return field
    found = _FREE.fullmatch(name)
    if found is None:
        raise Refused(line, f"{name}: records of kube.audit do not have this field")
    root = {"requestobject": "requestObject", "responseobject": "responseObject"}.get(found[1].lower(), "annotations")
    return _looked_into(root, found[2], line)


def _looked_into(root: str, text: str, line: int) -> Field:
    """A path that may go through lists: `[*]` is any of their items, a number one of them."""
    here: list[str | int] = [root]
    lists: list[tuple[str, str]] = []
    for each in text.split("."):
        found = _PART.fullmatch(each)
        if found is None:
            raise Refused(line, f"{text}: not a field")
        here.append(found[1])
        if found[2] is None:
            continue
        if found[2].isdigit():
            here.append(int(found[2]))
        elif found[2] == "*" and len(lists) < len(_ITEMS):
            name = _ITEMS[len(lists)]
            lists.append((path(here), name))
            here = [name]
        else:
            raise Refused(line, f"[{found[2]}]: one item of a list, or any (*), can be asked for, not a part of it")
    return Field(path(here), None, lists=tuple(lists))
