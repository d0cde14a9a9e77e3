"""What differs between two Alertmanagers: alerts, silences, receivers and groups, as API v2 gives them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from schemas.alerts import fingerprint
from schemas.base import parse_time

START_MS = 2000
"""Beginnings nearer to each other than this are the same: both round and receive in their own time."""
Documents = Sequence[Mapping[str, Any]]


class Side(NamedTuple):
    """What one of them answers to `/alerts`, `/silences`, `/receivers` and `/alerts/groups` of `/api/v2`."""

    alerts: Documents
    silences: Documents
    receivers: Documents
    groups: Documents


class Difference(NamedTuple):
    """`ours`, `theirs`: what each says; empty: it has none."""

    kind: str
    what: str
    ours: str
    theirs: str


def differences(ours: Side, theirs: Side) -> list[Difference]:
    """Sorted by kind and name; empty: they agree."""
    out = [
        *_compared("receiver", _receivers(ours), _receivers(theirs)),
        *_compared("alert", _alerts(ours), _alerts(theirs)),
        *_compared("silence", _silences(ours), _silences(theirs)),
        *_compared("group", _groups(ours), _groups(theirs)),
    ]
    mine, other = ({fingerprint(each["labels"]): each for each in side.alerts} for side in (ours, theirs))
    for print_ in sorted(mine.keys() & other.keys()):
        starts = [str(each[print_].get("startsAt", "")) for each in (mine, other)]
        if abs(parse_time(starts[0]) - parse_time(starts[1])) > START_MS:
            out.append(Difference("alert starts", _named(mine[print_]["labels"]), *starts))
    return out


def _compared(kind: str, ours: Mapping[str, str], theirs: Mapping[str, str]) -> Iterable[Difference]:
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield Difference(kind, name, ours.get(name, ""), theirs.get(name, ""))


def _receivers(side: Side) -> dict[str, str]:
    return {each["name"]: "there" for each in side.receivers}


def _alerts(side: Side) -> dict[str, str]:
    """State, what inhibits it and how many silences cover it (their ids differ), and where it goes."""
    out = {}
    for each in side.alerts:
        status = each["status"]
        told = [status["state"]]
        if status.get("silencedBy"):
            told.append(f"silences {len(status['silencedBy'])}")
        if status.get("inhibitedBy"):
            told.append("inhibited")
        told.append("-> " + ", ".join(sorted(receiver["name"] for receiver in each["receivers"])))
        out[_named(each["labels"])] = " ".join(told)
    return out


def _silences(side: Side) -> dict[str, str]:
    """Those that hold or will; by what they cover, since each side has ids of its own."""
    found: dict[str, list[str]] = defaultdict(list)
    for each in side.silences:
        state = each["status"]["state"]
        if state != "expired":
            matchers = [
                f"{m['name']}{_operator(m)}{m['value']}" for m in sorted(each["matchers"], key=lambda m: str(m["name"]))
            ]
            found["{" + ", ".join(matchers) + "}"].append(f"{state} to {str(each['endsAt'])[:19]}")
    return {name: "; ".join(sorted(told)) for name, told in found.items()}


def _operator(matcher: Mapping[str, Any]) -> str:
    equal = matcher.get("isEqual", True)
    return ("=~" if equal else "!~") if matcher["isRegex"] else "=" if equal else "!="


def _groups(side: Side) -> dict[str, str]:
    out: dict[str, list[str]] = defaultdict(list)
    for each in side.groups:
        prints = [fingerprint(alert["labels"]) for alert in each["alerts"]]
        out[f"{each['receiver']['name']} {_named(each['labels'])}"].extend(prints)
    return {name: f"{len(prints)} alerts: {' '.join(sorted(prints))}" for name, prints in out.items()}


def _named(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name}={labels[name]}" for name in sorted(labels)) + "}"
