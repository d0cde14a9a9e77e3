"""From a pod to its workload: by the objects of the cluster, else by the names controllers make."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest

from schemas.base import encode
from schemas.kube import object_key
from streams.owners import Owner, Owners, decode_owner, guess
from streams.views import View


def record(kind: str, name: str, owner: tuple[str, str] | None, *, controller: bool = True) -> bytes:
    references = [{"kind": owner[0], "name": owner[1], "controller": controller, "uid": "u"}] if owner else None
    metadata: dict[str, Any] = {"name": name, "ownerReferences": references, "labels": {"a": "b"}}
    body = {"kind": kind, "metadata": metadata, "spec": {"deep": [1, {"x": None}]}}
    return encode({"id": "1", "cluster": "c", "kind": kind, "name": name, "uid": "u", "object": body})


def owners(*known: tuple[str, str, tuple[str, str] | None]) -> Owners:
    table: dict[str, Owner] = {
        object_key("c", kind, "ns", name): decode_owner(record(kind, name, owner)) for kind, name, owner in known
    }
    return Owners(cast("View[Owner]", table))


CHAIN = owners(
    ("Pod", "pay-7d9c5-abcde", ("ReplicaSet", "pay-7d9c5")),
    ("ReplicaSet", "pay-7d9c5", ("Deployment", "pay")),
    ("Deployment", "pay", None),
    ("Pod", "nightly-28374650-x2x4z", ("Job", "nightly-28374650")),
    ("Job", "nightly-28374650", ("CronJob", "nightly")),
    ("Pod", "orphan", ("ReplicaSet", "web-6f7d9c5b6f")),
    ("Pod", "etcd-node1", ("Node", "node1")),
    ("Pod", "loop-a", ("ReplicaSet", "loop-b")),
    ("ReplicaSet", "loop-b", ("Pod", "loop-a")),
)


@pytest.mark.parametrize(
    ("kind", "name", "workload"),
    [
        ("Pod", "pay-7d9c5-abcde", ("Deployment", "pay")),
        ("ReplicaSet", "pay-7d9c5", ("Deployment", "pay")),
        ("Deployment", "pay", ("Deployment", "pay")),
        ("Pod", "nightly-28374650-x2x4z", ("CronJob", "nightly")),
        ("Pod", "orphan", ("Deployment", "web")),
        ("Pod", "etcd-node1", ("Pod", "etcd-node1")),
        ("Pod", "gone-6f7d9c5b6f-x2x4z", ("Deployment", "gone")),
    ],
)
def test_the_chain(kind: str, name: str, workload: tuple[str, str]) -> None:
    assert CHAIN.workload("c", "ns", kind, name) == workload


def test_a_circle_of_owners_ends() -> None:
    assert CHAIN.workload("c", "ns", "Pod", "loop-a")[1].startswith("loop")


@pytest.mark.parametrize(
    ("name", "workload"),
    [
        ("pay-6f7d9c5b6f-x2x4z", ("Deployment", "pay")),
        ("api-v2-6f7d9c5b6f-x2x4z", ("Deployment", "api-v2")),
        ("db-0", ("StatefulSet", "db")),
        ("fluent-bit-x2x4z", ("DaemonSet", "fluent-bit")),
        ("nightly-28374650-x2x4z", ("CronJob", "nightly")),
        ("single", ("Pod", "single")),
        ("my-shell", ("Pod", "my-shell")),
    ],
)
def test_the_guess(name: str, workload: tuple[str, str]) -> None:
    assert guess("Pod", name) == workload


def test_only_a_controller_owns_and_what_is_no_object_is_refused() -> None:
    assert decode_owner(record("Pod", "p", ("Custom", "x"), controller=False)) == Owner()
    assert decode_owner(encode({"object": {}})) == Owner()
    with pytest.raises(msgspec.DecodeError):
        decode_owner(b"[1]")
