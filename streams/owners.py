"""Who owns a pod: the chain pod -> ReplicaSet -> Deployment (StatefulSet, DaemonSet, Job -> CronJob) of `kube.objects`;
and in which workspace a namespace is.

Where an object is not known (the cluster is not watched, the pod is gone), the name says it: controllers make names of
pods by fixed patterns.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

import msgspec

from schemas.base import Event
from schemas.kube import object_key

TOPIC = "kube.objects"
MAX_CHAIN = 5
WORKSPACE = "kubesphere.io/workspace"
"""The label by which KubeSphere puts a namespace into a workspace."""
_RANDOM = "[bcdfghjklmnpqrstvwxz2456789]"
"""Letters of names that Kubernetes makes up (apimachinery pkg/util/rand)."""
_GUESSES = (
    (re.compile(rf"(.+)-\d{{8}}-{_RANDOM}{{5}}"), "CronJob"),
    (re.compile(rf"(.+)-{_RANDOM}{{6,10}}-{_RANDOM}{{5}}"), "Deployment"),
    (re.compile(r"(.+)-\d{1,4}"), "StatefulSet"),
    (re.compile(rf"(.+)-{_RANDOM}{{5}}"), "DaemonSet"),
)
_TEMPLATE_HASH = re.compile(rf"(.+)-{_RANDOM}{{6,10}}")


class Owner(Event, frozen=True, kw_only=True):
    """All that is kept of an object: its controller, and of a namespace its workspace, if it has one."""

    kind: str = ""
    name: str = ""
    workspace: str = ""


class _Reference(Event, frozen=True, kw_only=True):
    kind: str = ""
    name: str = ""
    controller: bool | None = None


class _Metadata(Event, frozen=True, kw_only=True, rename="camel"):
    owner_references: list[_Reference] | None = None
    labels: Any = None


class _Object(Event, frozen=True, kw_only=True):
    metadata: _Metadata = _Metadata()


class _Record(Event, frozen=True, kw_only=True):
    object: _Object = _Object()


_decoder = msgspec.json.Decoder(_Record)
_ROOT = Owner()


def decode_owner(value: bytes) -> Owner:
    """Raises msgspec.DecodeError for what is no object."""
    metadata = _decoder.decode(value).object.metadata
    for reference in metadata.owner_references or ():
        # The owner of a static pod is its node: that is no workload.
        if reference.controller and reference.kind != "Node":
            return Owner(kind=reference.kind, name=reference.name)
    workspace = metadata.labels.get(WORKSPACE) if isinstance(metadata.labels, dict) else None
    return Owner(workspace=workspace) if isinstance(workspace, str) and workspace else _ROOT


class Known(Protocol):
    """Objects by their key: the view of `kube.objects`, or a dict where no cluster's objects are known."""

    def get(self, key: str, /) -> Owner | None: ...


class Owners:
    def __init__(self, known: Known) -> None:
        self._known = known

    def workload(self, cluster: str, namespace: str, kind: str, name: str) -> tuple[str, str]:
        """(kind, name) of the workload an object belongs to; of the object itself when nothing owns it."""
        for _ in range(MAX_CHAIN):
            owner = self._known.get(object_key(cluster, kind, namespace, name))
            if owner is None:
                return guess(kind, name)
            if not owner.name:
                break
            kind, name = owner.kind, owner.name
        return kind, name

    def workspace(self, cluster: str, namespace: str) -> str:
        """That a namespace is in; empty where none is known."""
        found = self._known.get(object_key(cluster, "Namespace", "", namespace))
        return found.workspace if found is not None else ""


def guess(kind: str, name: str) -> tuple[str, str]:
    """The workload by the name of its pod or ReplicaSet."""
    if kind == "ReplicaSet":
        found = _TEMPLATE_HASH.fullmatch(name)
        return ("Deployment", found[1]) if found else (kind, name)
    for pattern, owner in _GUESSES if kind == "Pod" else ():
        if found := pattern.fullmatch(name):
            return owner, found[1]
    return kind, name
