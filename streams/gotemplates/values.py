"""The data templates see, as Alertmanager gives it: what fields and methods there are.

Source: alertmanager 0.25 template/template.go (Data, Alert, Alerts, KV, Pairs), prometheus.io/docs/alerting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from streams.gotemplates.gotime import Time


class Pair:
    fields: ClassVar = {"Name": "name", "Value": "value"}

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self.value = value


class Pairs(list[Pair]):
    methods: ClassVar[dict[str, Callable[..., Any]]] = {
        "Names": lambda self: [pair.name for pair in self],
        "Values": lambda self: [pair.value for pair in self],
    }


class KV(dict[str, str]):
    """Labels or annotations. `SortedPairs`: by name, `alertname` first."""

    def pairs(self) -> Pairs:
        return Pairs(Pair(name, self[name]) for name in sorted(self, key=lambda name: (name != "alertname", name)))

    def remove(self, names: Sequence[str]) -> KV:
        gone = set(names)
        return KV({name: value for name, value in self.items() if name not in gone})

    methods: ClassVar[dict[str, Callable[..., Any]]] = {
        "SortedPairs": pairs,
        "Remove": remove,
        "Names": lambda self: [pair.name for pair in self.pairs()],
        "Values": lambda self: [pair.value for pair in self.pairs()],
    }


class Alert:
    fields: ClassVar = {
        "Status": "status",
        "Labels": "labels",
        "Annotations": "annotations",
        "StartsAt": "starts_at",
        "EndsAt": "ends_at",
        "GeneratorURL": "generator_url",
        "Fingerprint": "fingerprint",
    }

    def __init__(
        self,
        status: str,
        labels: Mapping[str, str],
        annotations: Mapping[str, str],
        starts_at: Time,
        ends_at: Time,
        generator_url: str = "",
        fingerprint: str = "",
    ) -> None:
        """`ends_at`: Go's zero time while it fires."""
        self.status = status
        self.labels = KV(labels)
        self.annotations = KV(annotations)
        self.starts_at = starts_at
        self.ends_at = ends_at
        self.generator_url = generator_url
        self.fingerprint = fingerprint


class Alerts(list[Alert]):
    methods: ClassVar[dict[str, Callable[..., Any]]] = {
        "Firing": lambda self: Alerts(alert for alert in self if alert.status == "firing"),
        "Resolved": lambda self: Alerts(alert for alert in self if alert.status == "resolved"),
    }


class Data:
    """What a notification's templates are given."""

    fields: ClassVar = {
        "Receiver": "receiver",
        "Status": "status",
        "Alerts": "alerts",
        "GroupLabels": "group_labels",
        "CommonLabels": "common_labels",
        "CommonAnnotations": "common_annotations",
        "ExternalURL": "external_url",
    }

    def __init__(
        self,
        receiver: str,
        status: str,
        alerts: Alerts,
        group_labels: KV,
        common_labels: KV,
        common_annotations: KV,
        external_url: str,
    ) -> None:
        self.receiver = receiver
        self.status = status
        self.alerts = alerts
        self.group_labels = group_labels
        self.common_labels = common_labels
        self.common_annotations = common_annotations
        self.external_url = external_url


class SafeHtml(str):
    """Text that is not escaped in HTML: what `safeHtml` gives."""

    __slots__ = ()


def data(
    receiver: str, alerts: Iterable[Alert], group_labels: Mapping[str, str], external_url: str, status: str = ""
) -> Data:
    """What is common to all alerts, and the status, come from the alerts."""
    listed = Alerts(alerts)
    firing = any(alert.status == "firing" for alert in listed)
    return Data(
        receiver,
        status or ("firing" if firing else "resolved"),
        listed,
        KV(group_labels),
        _common([alert.labels for alert in listed]),
        _common([alert.annotations for alert in listed]),
        external_url,
    )


def _common(maps: Sequence[Mapping[str, str]]) -> KV:
    if not maps:
        return KV()
    first, *rest = maps
    return KV({name: value for name, value in first.items() if all(each.get(name) == value for each in rest)})
