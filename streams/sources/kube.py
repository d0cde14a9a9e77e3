"""The Kubernetes source: Events -> `kube.events`, objects around them -> `kube.objects`, of any number of clusters.

Each kubeconfig of the settings is one cluster. Its name in records: with one kubeconfig the setting `cluster.name`, or
else the uid of its kube-system namespace; with several each one's current context, or that uid where two share a name.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from streams.errors import Failure
from streams.producer import Producer
from streams.settings import Settings
from streams.sources.durable import Durable
from streams.sources.kube_api import Api, context_of
from streams.sources.kube_records import OBJECT_RESOURCES
from streams.sources.kube_state import Checkpoint, Loaded, known_objects, load
from streams.sources.kube_trackers import Events, Objects, Tracker
from streams.sources.kube_watch import Backoff, Problems, Watch

SOURCE = "kube"
FLUSH_S = 1.0
CLOSE_S = 2.0
LOCAL = "local"


class KubeSource:
    """Watches from `start` to `close`; without kubeconfigs it does nothing."""

    def __init__(self, settings: Settings, producer: Producer, clock: Callable[[], int]) -> None:
        self._settings = settings
        self.durable = Durable(SOURCE, producer)
        self._clock = clock
        self._given = given_names(settings)
        self._tasks: list[asyncio.Task[None]] = []
        self._loading: asyncio.Task[Loaded] | None = None
        self.problems = Problems()
        self.names: dict[str, str] = {}
        """Of each kubeconfig's cluster, once known."""

    @property
    def local_name(self) -> str:
        """The cluster of records that do not name one: the only one watched, or `local`."""
        if self._settings.cluster.name:
            return self._settings.cluster.name
        return next(iter(self.names.values())) if len(self._given) == 1 and self.names else LOCAL

    async def start(self) -> None:
        """Returns at once: clusters and Kafka may be away for long."""
        if self._given:
            self._loading = asyncio.create_task(load(self._settings.kafka))
        for kubeconfig, name in self._given.items():
            self._tasks.append(asyncio.create_task(self._watch(kubeconfig, name), name=f"kube {kubeconfig}"))

    async def close(self) -> None:
        """Stop, and write how far each watch is."""
        tasks = [*self._tasks, self._loading] if self._loading else self._tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, kubeconfig: str, name: str) -> None:
        api = Api(kubeconfig)
        try:
            name = name or await self._uid(api)
            self.names[kubeconfig] = name
            if self._loading:
                await self._run(name, api, await asyncio.shield(self._loading))
        finally:
            await api.close()

    async def _uid(self, api: Api) -> str:
        backoff = Backoff()
        while True:
            try:
                uid = await api.uid()
            except Failure as error:
                self.problems.is_ill(api.kubeconfig, error.detail or error.reason)
                await asyncio.sleep(backoff.wait_s())
            else:
                self.problems.is_well(api.kubeconfig)
                return uid

    async def _run(self, cluster: str, api: Api, loaded: Loaded) -> None:
        checkpoint = Checkpoint(cluster, loaded.entries, self.durable, self._clock)
        trackers: list[Tracker] = [Events(cluster, checkpoint.counts)]
        for resource in OBJECT_RESOURCES:
            known = known_objects(loaded, cluster, resource.kind)
            trackers.append(Objects(cluster, resource, known, self._clock))
        try:
            async with asyncio.TaskGroup() as group:
                for tracker in trackers:
                    watch = Watch(cluster, api, tracker, checkpoint, self.durable, self._clock, self.problems)
                    group.create_task(watch.run(), name=f"watch {cluster} {tracker.resource.named}")
                group.create_task(_flush(checkpoint))
        finally:
            async with asyncio.timeout(CLOSE_S):
                await checkpoint.flush()


async def _flush(checkpoint: Checkpoint) -> None:
    while True:
        await asyncio.sleep(FLUSH_S)
        await checkpoint.flush()


def given_names(settings: Settings) -> dict[str, str]:
    """Name of each kubeconfig's cluster; empty where it is the uid of its kube-system namespace."""
    paths = list(dict.fromkeys(settings.kubeconfigs))
    if len(paths) == 1:
        return {paths[0]: settings.cluster.name}
    names = {path: context_of(path) for path in paths}
    times = Counter(names.values())
    return {path: name if times[name] == 1 else "" for path, name in names.items()}
