"""Kubernetes audit events (`kube.audit`): audit.k8s.io/v1 Event as the apiserver writes it, and where it came from.

Source: k8s.io/apiserver/pkg/apis/audit/v1/types.go. Names are the apiserver's; `cluster`, `tenant`, `time_ms` are ours.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from schemas.base import Event

Named = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]


class AuditUser(Event, frozen=True, kw_only=True):
    username: str = ""
    uid: str = ""
    groups: list[str] = []
    extra: dict[str, list[str]] = {}


class AuditObject(Event, frozen=True, kw_only=True, rename="camel"):
    resource: str = ""
    """In the plural: `pods`."""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_group: str = ""
    api_version: str = ""
    resource_version: str = ""
    subresource: str = ""


class AuditStatus(Event, frozen=True, kw_only=True):
    code: int = 0
    """HTTP's."""
    status: str = ""
    reason: str = ""
    message: str = ""


class KubeAuditEvent(Event, frozen=True, kw_only=True, rename="camel"):
    """What somebody asked of an apiserver, at one `stage` of the request. Key: `auditID`."""

    audit_id: Named = msgspec.field(name="auditID")
    level: str = ""
    """`Metadata`, `Request` or `RequestResponse`: how much of the request is here."""
    stage: str = ""
    """`RequestReceived`, `ResponseStarted`, `ResponseComplete` or `Panic`."""
    request_uri: str = msgspec.field(name="requestURI", default="")
    verb: str = ""
    user: AuditUser = AuditUser()
    impersonated_user: AuditUser | None = None
    source_ips: list[str] = msgspec.field(name="sourceIPs", default=[])
    user_agent: str = ""
    object_ref: AuditObject | None = None
    response_status: AuditStatus | None = None
    request_object: dict[str, Any] | None = None
    response_object: dict[str, Any] | None = None
    request_received_timestamp: str = ""
    stage_timestamp: str = ""
    annotations: dict[str, str] = {}
    cluster: str = msgspec.field(name="cluster", default="")
    tenant: str = msgspec.field(name="tenant", default="")
    time_ms: int = msgspec.field(name="time_ms", default=0)
    """Of the stage."""
