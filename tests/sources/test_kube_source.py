"""The Kubernetes source on a real kube-apiserver and a real broker: all of it, once, whatever happens to either."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from schemas.base import digest
from schemas.kube import KubeEvent, KubeObject
from streams.settings import Kafka
from tests.parts.kube.cluster import Kube, Refused
from tests.sources.bus import Reader, headers
from tests.sources.kube_objects import (
    deployment,
    deployments_path,
    event,
    events,
    events_path,
    namespace,
    objects,
    source,
    until,
)

numbers = itertools.count()


class Bus:
    """What arrives from now on."""

    def __init__(self, kafka: Kafka) -> None:
        self.events = Reader(kafka, "kube.events")
        self.objects = Reader(kafka, "kube.objects")
        self.gaps = Reader(kafka, "gaps")

    def close(self) -> None:
        for reader in (self.events, self.objects, self.gaps):
            reader.close()

    def events_of(self, space: str) -> list[KubeEvent]:
        return [e for e in events(self.events.poll(0.01)) if e.namespace == space]

    def objects_of(self, space: str, kind: str = "Deployment") -> list[KubeObject]:
        return [o for o in objects(self.objects.poll(0.01)) if o.namespace == space and o.kind == kind]


@pytest.fixture
def bus(platform_kafka: Kafka) -> Iterator[Bus]:
    found = Bus(platform_kafka)
    yield found
    found.close()


@pytest.fixture
def space(own_kube: Kube) -> str:
    return namespace(own_kube, f"space-{next(numbers)}")


async def test_events_and_objects_arrive(own_kube: Kube, platform_kafka: Kafka, bus: Bus, space: str) -> None:
    first = own_kube.request("POST", events_path(space), event(space, "e1"))
    async with source(platform_kafka, own_kube.kubeconfig) as kube:
        await until(lambda: len(bus.events_of(space)) == 1, "the event of the list")
        own_kube.request("PATCH", events_path(space, "e1"), {"count": 4})
        await until(lambda: len(bus.events_of(space)) == 2, "the change of the event")
        own_kube.request("POST", deployments_path(space), deployment("pay"))
        own_kube.request("PATCH", deployments_path(space, "pay"), {"spec": {"replicas": 3}})
        await until(lambda: len(bus.objects_of(space)) == 2, "the deployment")
        own_kube.request("DELETE", deployments_path(space, "pay"))
        await until(lambda: len(bus.objects_of(space)) == 3, "the deletion")
        assert not kube.problems.current
    listed, changed = bus.events_of(space)
    uid = first["metadata"]["uid"]
    assert listed.id == digest("test", uid, first["metadata"]["resourceVersion"])
    assert (listed.replayed, listed.count, listed.count_delta) == (True, 1, 1)
    assert (changed.replayed, changed.count, changed.count_delta) == (False, 4, 3)
    assert changed.involved.uid == f"uid-{space}"
    record = next(r for r in bus.events.records if r.value and listed.id.encode() in r.value)
    assert record.key == f"test/uid-{space}".encode()
    assert record.timestamp_ms == listed.time_ms
    assert headers(record)["ce_id"] == listed.id.encode()
    added, modified, deleted = bus.objects_of(space)
    assert [added.change, modified.change, deleted.change] == ["added", "modified", "deleted"]
    assert added.object["metadata"]["annotations"] == {"kept": "yes"}
    assert "managedFields" not in added.object["metadata"]
    assert deleted.id == digest("test", added.uid, "deleted")
    key = f"test/Deployment/{space}/pay".encode()
    values = [r.value for r in bus.objects.records if r.key == key]
    assert values[-1] is None
    assert len(values) == 4


def write_events(cluster: Kube, space: str, stop: list[bool]) -> dict[str, set[str]]:
    """Create and count up Events until told to stop; what the server answered is the oracle: uid -> versions."""
    oracle: dict[str, set[str]] = {}
    for number in itertools.count():
        if stop:
            return oracle
        name = f"e{number // 3}"
        try:
            if number % 3 == 0:
                done = cluster.request("POST", events_path(space), event(space, name))
            else:
                done = cluster.request("PATCH", events_path(space, name), {"count": number % 3 + 1})
        except (Refused, OSError, ValueError):
            time.sleep(0.05)
            continue
        meta = done["metadata"]
        oracle.setdefault(meta["uid"], set()).add(meta["resourceVersion"])
    raise AssertionError


@pytest.mark.parametrize("hard", [False, True])
async def test_a_restart_of_the_api_loses_and_doubles_nothing(
    own_kube: Kube, platform_kafka: Kafka, bus: Bus, space: str, hard: bool
) -> None:
    stop: list[bool] = []
    loop = asyncio.get_running_loop()
    async with source(platform_kafka, own_kube.kubeconfig):
        with ThreadPoolExecutor(2) as threads:
            writing = loop.run_in_executor(threads, write_events, own_kube, space, stop)
            await until(lambda: len(bus.events_of(space)) > 50, "events before the restart")
            await loop.run_in_executor(threads, lambda: own_kube.restart_apiserver(hard=hard))
            before = len(bus.events_of(space))
            await until(lambda: len(bus.events_of(space)) > before + 50, "events after the restart")
            stop.append(True)
            oracle = await writing
        wanted = {digest("test", uid, version) for uid, versions in oracle.items() for version in versions}
        await until(lambda: wanted <= {e.id for e in bus.events_of(space)}, "all that was written")
    found = Counter(e.id for e in bus.events_of(space))
    assert [id_ for id_, times in found.items() if times > 1] == []
    # A write whose answer was lost may be there too: at most one a restart.
    assert len(found) <= len(wanted) + 2


async def test_compacted_history_is_listed_again(own_kube: Kube, platform_kafka: Kafka, bus: Bus, space: str) -> None:
    """Down while history goes away: deletions are found, counts add up, nothing is told twice, the gap is said."""
    for name in ("stays", "goes", "is-replaced"):
        own_kube.request("POST", deployments_path(space), deployment(name))
    own_kube.request("POST", events_path(space), event(space, "e1", count=2))
    async with source(platform_kafka, own_kube.kubeconfig):
        await until(lambda: len(bus.objects_of(space)) == 3 and len(bus.events_of(space)) == 1, "the first list")
    replaced = next(o for o in bus.objects_of(space) if o.name == "is-replaced")
    gone = next(o for o in bus.objects_of(space) if o.name == "goes")
    for name in ("goes", "is-replaced"):
        own_kube.request("DELETE", deployments_path(space, name))
    own_kube.request("POST", deployments_path(space), deployment("is-replaced"))
    own_kube.request("PATCH", events_path(space, "e1"), {"count": 7})
    own_kube.request("POST", events_path(space), event(space, "e2", count=3))
    await asyncio.sleep(5.1)  # a shorter silence is no gap
    own_kube.compact()
    own_kube.restart_apiserver()
    async with source(platform_kafka, own_kube.kubeconfig):
        await until(lambda: len(bus.events_of(space)) == 3, "the events since")
        await until(lambda: len(bus.objects_of(space)) == 6, "the objects since")
        await until(lambda: bool(bus.gaps.poll(0.01)), "the gap")
    assert sorted(e.count_delta for e in bus.events_of(space)) == [2, 3, 5]
    since = {(o.name, o.change, o.uid) for o in bus.objects_of(space)[3:]}
    assert ("goes", "deleted", gone.uid) in since
    assert ("is-replaced", "deleted", replaced.uid) in since
    assert {name for name, change, _ in since if change == "added"} == {"is-replaced"}
    found = bus.gaps.records[-1]
    assert found.key == b"kube/test/events"
    assert b"compacted" in (found.value or b"")


async def test_compaction_and_a_hard_restart_while_watching(
    own_kube: Kube, platform_kafka: Kafka, bus: Bus, space: str
) -> None:
    async with source(platform_kafka, own_kube.kubeconfig):
        own_kube.request("POST", events_path(space), event(space, "e1"))
        await until(lambda: len(bus.events_of(space)) == 1, "the first event")
        own_kube.compact()
        await asyncio.to_thread(lambda: own_kube.restart_apiserver(hard=True))
        own_kube.request("POST", events_path(space), event(space, "e2"))
        own_kube.request("POST", deployments_path(space), deployment("pay"))
        await until(lambda: len(bus.events_of(space)) == 2, "the event after compaction")
        await until(lambda: len(bus.objects_of(space)) == 1, "the deployment after compaction")
        own_kube.request("DELETE", deployments_path(space, "pay"))
        await until(lambda: len(bus.objects_of(space)) == 2, "the deletion after compaction")
    assert len({e.id for e in bus.events_of(space)}) == len(bus.events_of(space)) == 2


async def test_it_goes_on_where_it_was(own_kube: Kube, platform_kafka: Kafka, bus: Bus, space: str) -> None:
    """Stopped and started: what happened meanwhile comes from the watch, by its own versions, and once by its id."""

    def told() -> list[KubeEvent]:
        return list({each.id: each for each in reversed(bus.events_of(space))}.values())[::-1]

    async with source(platform_kafka, own_kube.kubeconfig):
        own_kube.request("POST", events_path(space), event(space, "e0"))
        await until(lambda: len(bus.events_of(space)) == 1, "an event, by the list or the watch after it")
        own_kube.request("POST", events_path(space), event(space, "e1"))
        own_kube.request("POST", deployments_path(space), deployment("pay"))
        await until(lambda: len(bus.events_of(space)) == 2 and len(bus.objects_of(space)) == 1, "the first")
    for count in (2, 5):
        own_kube.request("PATCH", events_path(space, "e1"), {"count": count})
    own_kube.request("DELETE", deployments_path(space, "pay"))
    async with source(platform_kafka, own_kube.kubeconfig):
        await until(lambda: len(told()) == 4 and len(bus.objects_of(space)) == 2, "the others")
        await asyncio.sleep(1)
    assert [(e.count_delta, e.replayed) for e in told()[1:]] == [(1, False), (1, False), (3, False)]
    assert [o.change for o in bus.objects_of(space)] == ["added", "deleted"]


async def test_two_watchers_tell_the_same(own_kube: Kube, platform_kafka: Kafka, bus: Bus, space: str) -> None:
    async with source(platform_kafka, own_kube.kubeconfig), source(platform_kafka, own_kube.kubeconfig):
        await asyncio.sleep(2)
        for number in range(5):
            own_kube.request("POST", events_path(space), event(space, f"e{number}"))
        await until(lambda: len(bus.events_of(space)) == 10, "both watchers' records")
    by_id: dict[str, list[KubeEvent]] = {}
    for each in bus.events_of(space):
        by_id.setdefault(each.id, []).append(each)
    assert [len(same) for same in by_id.values()] == [2] * 5
    assert all(same[0] == same[1] for same in by_id.values())


async def test_several_clusters_have_their_contexts_names(
    own_kube: Kube, platform_kafka: Kafka, bus: Bus, space: str
) -> None:
    path = own_kube.kubeconfig_for(own_kube.admin_token, "second")
    path.write_text(path.read_text("utf-8").replace("test", "second"), "utf-8")
    absent = own_kube.kubeconfig_for(own_kube.admin_token, "third")
    absent.write_text(absent.read_text("utf-8").replace("test", "third").replace(own_kube.url, "https://127.0.0.1:1"))
    async with source(platform_kafka, own_kube.kubeconfig, path, absent) as kube:
        own_kube.request("POST", events_path(space), event(space, "e1"))
        await until(lambda: {e.cluster for e in bus.events_of(space)} == {"test", "second"}, "both clusters' records")
        await until(lambda: any(name.startswith("third/") for name in kube.problems.current), "the third is away")
        assert kube.local_name == "test"


async def test_one_unnamed_cluster_is_called_by_its_uid(own_kube: Kube, platform_kafka: Kafka) -> None:
    uid = own_kube.request("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
    async with source(platform_kafka, own_kube.kubeconfig, cluster="") as kube:
        assert kube.local_name == "local"
        await until(lambda: kube.local_name == uid, "the name")


def allow(cluster: Kube, rules: list[dict[str, Any]]) -> None:
    """What the user of `nobody_token` may do."""
    meta = {"metadata": {"name": "watcher"}}
    group = "rbac.authorization.k8s.io"
    path = f"/apis/{group}/v1/clusterroles"
    user = {"kind": "User", "name": "test-nobody", "apiGroup": group}
    role = {"kind": "ClusterRole", "name": "watcher", "apiGroup": group}
    for method, where, body in (
        ("POST", path, meta | {"rules": rules}),
        ("POST", f"{path.removesuffix('s')}bindings", meta | {"roleRef": role, "subjects": [user]}),
    ):
        try:
            cluster.request(method, where, body)
        except Refused:  # it is there already
            cluster.request("PUT", f"{where}/watcher", body)


async def test_a_missing_right_is_named_and_harms_no_other(
    own_kube: Kube, platform_kafka: Kafka, bus: Bus, space: str
) -> None:
    config = own_kube.kubeconfig_for(own_kube.nobody_token, "nobody")
    allow(own_kube, [{"apiGroups": [""], "resources": ["events"], "verbs": ["list", "watch"]}])
    async with source(platform_kafka, config, cluster="narrow") as kube:
        await until(lambda: "narrow/pods" in kube.problems.current, "the refusal")
        assert "cannot list pods" in kube.problems.current["narrow/pods"]
        await until(lambda: "narrow/deployments.apps" in kube.problems.current, "the refusal")
        assert "cannot list deployments.apps" in kube.problems.current["narrow/deployments.apps"]
        own_kube.request("POST", events_path(space), event(space, "e1"))
        await until(lambda: len(bus.events_of(space)) == 1, "events come all the same")
        everything = {"apiGroups": ["", "apps", "batch"], "resources": ["*"], "verbs": ["list"]}
        allow(own_kube, [everything])
        await until(lambda: "cannot watch pods" in kube.problems.current.get("narrow/pods", ""), "the next refusal")
        allow(own_kube, [everything | {"verbs": ["list", "watch"]}])
        await until(lambda: not kube.problems.current, "all rights")
