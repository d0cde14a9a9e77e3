"""An alert for the tests of delivery."""

from __future__ import annotations

from schemas.alerts import AlertState, Evidence, Status, fingerprint

TIME = 1_767_607_200_000


def alert(name: str = "Down", **labels: str) -> AlertState:
    all_labels = {"alertname": name, "namespace": "shop", **labels}
    return AlertState(
        tenant="platform",
        fingerprint=fingerprint(all_labels),
        episode="e",
        state=Status.FIRING,
        labels=all_labels,
        annotations={"summary": f"{name} is down"},
        starts_at_ms=TIME,
        updated_at_ms=TIME,
        seq=1,
        evidence=[Evidence(topic="logs", partition=0, offset=7)],
    )
