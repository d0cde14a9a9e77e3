"""The route tree: which receivers and groups an alert goes to. Pure. Source: alertmanager 0.25 dispatch/route.go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from schemas.alerting import ALL_LABELS, Route
from streams.matching import matches


class Destination(NamedTuple):
    route: Route
    group_labels: dict[str, str]
    group_key: str


def routes_of(root: Route, labels: Mapping[str, str]) -> list[Route]:
    """The routes that take an alert of `labels`, in the order of the tree: the deepest matching ones."""
    if not matches(root.matchers, labels):
        return []
    found: list[Route] = []
    for child in root.routes:
        taken = routes_of(child, labels)
        found += taken
        if taken and not child.continue_:
            break
    return found or [root]


def destinations(root: Route, labels: Mapping[str, str]) -> list[Destination]:
    """Each receiver and group once, even when two routes of the same key lead there."""
    out: dict[tuple[str, str], Destination] = {}
    for route in routes_of(root, labels):
        group = group_labels(route, labels)
        key = group_key(route, group)
        out.setdefault((route.receiver, key), Destination(route, group, key))
    return list(out.values())


def group_labels(route: Route, labels: Mapping[str, str]) -> dict[str, str]:
    if route.group_by == [ALL_LABELS]:
        return dict(sorted(labels.items()))
    return {name: labels[name] for name in route.group_by if name in labels}


def group_key(route: Route, group: Mapping[str, str]) -> str:
    """Alertmanager's: `{}/{severity="page"}:{alertname="Down", cluster="a"}`."""
    inside = ", ".join(f"{name}={_quoted(group[name])}" for name in sorted(group))
    return f"{route.key}:{{{inside}}}"


def _quoted(value: str) -> str:
    """Go's %q, but for characters Go calls unprintable: those come as JSON escapes them."""
    return msgspec.json.encode(value).decode()
