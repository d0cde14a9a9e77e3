"""A rule as people write it in a rule file (docs/how-to/write-a-rule.md), checked and with its defaults filled in."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from schemas.alerts import NO_TENANT
from schemas.base import Event, digest


class Level(StrEnum):
    """What one alert of the rule is about; presets the grouping."""

    CLUSTER = "cluster"
    NODE = "node"
    WORKSPACE = "workspace"
    NAMESPACE = "namespace"
    WORKLOAD = "workload"
    POD = "pod"
    CONTAINER = "container"


LEVEL_LABELS: dict[Level, tuple[str, ...]] = {
    Level.CLUSTER: ("cluster",),
    Level.NODE: ("cluster", "node"),
    Level.WORKSPACE: ("cluster", "workspace"),
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
    FLATLINE = "flatline"
    """Fewer than `count` matches within `within`, of a group that had some in the last `forget`."""
    SPIKE = "spike"
    """`times` as many matches within `within` as in the `within` before, or `times` fewer."""
    CARDINALITY = "cardinality"
    """More (`above`) or fewer (`below`) different values of `field` within `within`."""
    METRIC = "metric"
    """An aggregate of the numbers in `field` within `within` is `above` or `below`."""
    PERCENTAGE_MATCH = "percentage_match"
    """The share of matches within `within` for which `match` holds is `above` or `below`, in percent."""
    CHANGE = "change"
    """The value of `field` is another one than in the match before."""
    NEW_TERM = "new_term"
    """A value of `field` that was not seen for `within`."""
    BLACKLIST = "blacklist"
    """The value of `field` is one of `values`."""
    WHITELIST = "whitelist"
    """The value of `field` is none of `values`."""
    SEQUENCE = "sequence"
    """Records that match the `steps` one after the other within `within`; `unless`: and none that matches it since."""
    JOIN = "join"
    """Records that match each of the `steps`, in any order, within `within`."""

    EXPRESSION = "expression"
    """A condition on several counts within `within`."""


MOMENTARY = frozenset({
    Detection.ANY, Detection.CHANGE, Detection.NEW_TERM, Detection.BLACKLIST, Detection.WHITELIST, Detection.SEQUENCE,
    Detection.JOIN,
})  # fmt: skip
"""What they detect is a moment: the alert fires from then on for `keep_firing_for`."""


class Mode(StrEnum):
    LIVE = "live"
    SHADOW = "shadow"
    """It is evaluated, and nobody is told: what it would have said is on `rules.shadow`."""


SHADOW = "~shadow"
"""Ends the key of a rule in shadow mode: it stands beside the live one of its name."""


class Direction(StrEnum):
    UP = "up"
    DOWN = "down"
    BOTH = "both"


class Windowing(StrEnum):
    """Over which time a measure is taken."""

    SLIDING = "sliding"
    """The last `within`, at every moment."""
    TUMBLING = "tumbling"
    """Each `within` by itself, one after the other from the epoch on: the alert goes by the last that is over."""
    HOPPING = "hopping"
    """The last `within`, every `hop`."""
    SESSION = "session"
    """Since matches come no more than `gap` apart; `within` at most."""


class Without(StrEnum):
    """What an alert does when there is nothing to go by: no data, or an error."""

    OK = "ok"
    """It does not fire."""
    KEEP = "keep"
    """It stays as it was."""
    FIRING = "firing"
    """One fires, of the rule's own labels."""
    NO_DATA = "no_data"
    """One is shown in that state: nobody is told."""
    ERROR = "error"
    """The same."""


class Aggregate(StrEnum):
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"
    COUNT = "count"
    P50 = "p50"
    P90 = "p90"
    P95 = "p95"
    P99 = "p99"


class Expected(Event, frozen=True, kw_only=True):
    """An alert that a test expects. Times since the test begins; `until_ms` -1: whenever. Labels and annotations: those
    named must be so, there may be others."""

    from_ms: int
    until_ms: int = -1
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class RuleTest(Event, frozen=True, kw_only=True):
    """Records over time, and all alerts of the rule that they make."""

    name: str
    records: tuple[tuple[int, dict[str, Any]], ...] = ()
    """(ms since the test begins, record), in order of time."""
    inputs: tuple[str, ...] = ()
    """The topic of each of them; empty: the rule's first."""
    alerts: tuple[Expected, ...] = ()
    line: int = 0


class Rule(Event, frozen=True, kw_only=True):
    """Times in milliseconds. `lateness_ms` -1: as the worker's settings say."""

    name: str
    input: str
    """The topic whose records it looks at; of several, the first."""
    inputs: tuple[str, ...] = ()
    """All of them, where there are several."""
    where: str
    """Must hold of each record, whatever topic it is of."""
    wheres: tuple[tuple[str, str], ...] = ()
    """(input, condition): must hold of its records, besides `where`."""
    level: Level = Level.CLUSTER
    group_by: tuple[str, ...] = ()
    type: Detection = Detection.ANY
    count: int = 1
    within_ms: int = 0
    field: str = ""
    """The field whose value counts, as it is written in conditions."""
    values: tuple[str, ...] = ()
    match: str = ""
    steps: tuple[str, ...] = ()
    """Conditions; `where` must hold with each of them."""
    step_inputs: tuple[str, ...] = ()
    """The topic of each of `steps` and of `unless`, where they name theirs; empty: any of the rule's."""
    unless: str = ""
    keys: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    """(label, (input, field)...): more labels that tell alerts apart, from another field in each topic."""
    aggregate: Aggregate = Aggregate.AVG
    above: float | None = None
    below: float | None = None
    times: float = 0.0
    direction: Direction = Direction.UP
    window: Windowing = Windowing.SLIDING
    hop_ms: int = 0
    """Of tumbling and hopping windows: how often they end."""
    gap_ms: int = 0
    counts: tuple[str, ...] = ()
    """Names of `steps` in `expression`."""
    expression: str = ""
    learn_ms: int = 0
    """No value is new before the group is known for so long."""
    forget_ms: int = 0
    for_ms: int = 0
    keep_firing_for_ms: int = 0
    lateness_ms: int = -1
    severity: str = "warning"
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    severities: tuple[tuple[str, float], ...] = ()
    """Severities by value: (severity, its `above` or `below`), the strictest first. None: always `severity`."""
    query: str = ""
    """PromQL, of a rule over `metrics`; its series have `above` or `below` applied, if there is one."""
    metric: str = ""
    """The name in the catalogue of metrics that `query` came from."""
    every_ms: int = 0
    """How often `query` is asked."""
    on_no_data: Without = Without.OK
    on_error: Without = Without.KEEP
    limit: int = 0
    """Most groups (in a partition of `rules.matches`) or alerts (of a query) there may be; 0: as the engine's."""
    contact: str = ""
    """Who looks after the rule: `owner` in files."""
    tenant: str = NO_TENANT
    enabled: bool = True
    mode: Mode = Mode.LIVE
    owner: str = ""
    """The tenant that stored it by the API; its names are its own. Empty: the platform's."""
    version: int = 0
    """Of the stored document it comes from; 0: of a file."""
    group: str = ""
    file: str = ""
    line: int = 0
    tests: tuple[RuleTest, ...] = ()

    @property
    def key(self) -> str:
        """What tells the rules of a rule set apart, and what their matches and windows are known by."""
        named = f"{self.owner}/{self.name}" if self.owner else self.name
        return named + SHADOW if self.mode is Mode.SHADOW else named

    @property
    def topics(self) -> tuple[str, ...]:
        return self.inputs or (self.input,)

    @property
    def clock(self) -> str:
        """Whose time it goes by: the topic's, or that of all of its topics together, joined by +."""
        return "+".join(sorted(set(self.inputs))) if self.inputs else self.input

    @property
    def hash(self) -> str:
        """Changes when windows kept under the old text would be wrong under the new; not with words for people."""
        return digest(
            self.name, self.input, self.where, self.level, "\0".join(self.group_by), self.type,
            str(self.count), str(self.within_ms), str(self.keep_firing_for_ms), self.severity,
            "\0".join(f"{k}\0{v}" for k, v in sorted(self.labels.items())), self.tenant, *self._more(),
            *self._newer(),
        )  # fmt: skip

    def _newer(self) -> tuple[str, ...]:
        """What rules got later, only where it is used."""
        found = {
            "inputs": "\0".join(self.inputs),
            "wheres": str(self.wheres),
            "steps": "\0".join(self.step_inputs),
            "keys": str(self.keys),
            "window": f"{self.window}\0{self.hop_ms}\0{self.gap_ms}" if self.window is not Windowing.SLIDING else "",
            "expression": self.expression and "\0".join((self.expression, *self.counts)),
            "severities": str(self.severities),
            "query": self.query and f"{self.query}\0{self.above}\0{self.below}\0{self.every_ms}",
            "on_no_data": self.on_no_data if self.on_no_data is not Without.OK else "",
        }
        return tuple(part for name, value in found.items() if value and value != "()" for part in (name, value))

    def _more(self) -> tuple[str, ...]:
        """Nothing for the types that need nothing more: their hashes are as they always were."""
        if self.type in (Detection.ANY, Detection.FREQUENCY):
            return ()
        return (
            self.field, "\0".join(self.values), self.match, "\0".join(self.steps), self.unless, self.aggregate,
            str(self.above), str(self.below), str(self.times), self.direction, str(self.learn_ms), str(self.forget_ms),
        )  # fmt: skip
