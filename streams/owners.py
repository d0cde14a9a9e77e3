"""Who owns a pod: the chain pod -> ReplicaSet -> Deployment (StatefulSet, DaemonSet, Job -> CronJob) of `kube.objects`.

Where an object is not known (the cluster is not watched, the pod is gone), the name says it: controllers make names of
pods by fixed patterns.
"""

from __future__ import annotations

import re
from typing import Protocol

import msgspec

from schemas.base import Event
from schemas.kube import object_key

TOPIC = "kube.objects"
MAX_CHAIN = 5
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
    """All that is kept of an object: its controller, if it has one."""

    kind: str = ""
    name: str = ""


class _Reference(Event, frozen=True, kw_only=True):
    kind: str = ""
    name: str = ""
    controller: bool | None = None


class _Metadata(Event, frozen=True, kw_only=True, rename="camel"):
    owner_references: list[_Reference] | None = None


class _Object(Event, frozen=True, kw_only=True):
    metadata: _Metadata = _Metadata()


class _Record(Event, frozen=True, kw_only=True):
    object: _Object = _Object()


_decoder = msgspec.json.Decoder(_Record)
_ROOT = Owner()


def decode_owner(value: bytes) -> Owner:
    """Raises msgspec.DecodeError for what is no object."""
    for reference in _decoder.decode(value).object.metadata.owner_references or ():
        # The owner of a static pod is its node: that is no workload.
        if reference.controller and reference.kind != "Node":
            return Owner(kind=reference.kind, name=reference.name)
    return _ROOT


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


def guess(kind: str, name: str) -> tuple[str, str]:
    """The workload by the name of its pod or ReplicaSet."""
    if kind == "ReplicaSet":
        found = _TEMPLATE_HASH.fullmatch(name)
        return ("Deployment", found[1]) if found else (kind, name)
    for pattern, owner in _GUESSES if kind == "Pod" else ():
        if found := pattern.fullmatch(name):
            return owner, found[1]
    return kind, name
