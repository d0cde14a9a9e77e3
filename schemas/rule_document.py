"""A rule as people write it in a rule file (docs/how-to/write-a-rule.md), checked and with its defaults filled in."""

from __future__ import annotations

from enum import StrEnum

from schemas.alerts import NO_TENANT
from schemas.base import Event, digest


class Level(StrEnum):
    """What one alert of the rule is about; presets the grouping."""

    CLUSTER = "cluster"
    NODE = "node"
    NAMESPACE = "namespace"
    WORKLOAD = "workload"
    POD = "pod"
    CONTAINER = "container"


LEVEL_LABELS: dict[Level, tuple[str, ...]] = {
    Level.CLUSTER: ("cluster",),
    Level.NODE: ("cluster", "node"),
    Level.NAMESPACE: ("cluster", "namespace"),
    Level.WORKLOAD: ("cluster", "namespace", "workload_kind", "workload"),
    Level.POD: ("cluster", "namespace", "pod"),
    Level.CONTAINER: ("cluster", "namespace", "pod", "container"),
}
"""Labels an alert of each level has. The last one must be known of a record, or the record is no match of the rule."""


class Detection(StrEnum):
    ANY = "any"
    """Every match fires its group's alert, or keeps it firing."""
    FREQUENCY = "frequency"
    """`count` matches within `within` fire it."""


class Rule(Event, frozen=True, kw_only=True):
    """Times in milliseconds. `lateness_ms` -1: as the worker's settings say."""

    name: str
    input: str
    """The topic whose records it looks at."""
    where: str
    level: Level = Level.CLUSTER
    group_by: tuple[str, ...] = ()
    type: Detection = Detection.ANY
    count: int = 1
    within_ms: int = 0
    for_ms: int = 0
    keep_firing_for_ms: int = 0
    lateness_ms: int = -1
    severity: str = "warning"
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    tenant: str = NO_TENANT
    enabled: bool = True
    group: str = ""
    file: str = ""
    line: int = 0

    @property
    def hash(self) -> str:
        """Changes when windows kept under the old text would be wrong under the new; not with words for people."""
        return digest(
            self.name, self.input, self.where, self.level, "\0".join(self.group_by), self.type,
            str(self.count), str(self.within_ms), str(self.keep_firing_for_ms), self.severity,
            "\0".join(f"{k}\0{v}" for k, v in sorted(self.labels.items())), self.tenant,
        )  # fmt: skip
