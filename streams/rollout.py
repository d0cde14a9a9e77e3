"""What a rollout changed, read from the versions of a Deployment: images, revision, replicas, environment. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from schemas.base import rfc3339
from streams.sinks.index.port import Hit
from streams.sinks.letter import record_url

REVISION = "deployment.kubernetes.io/revision"
CHANGE_CHARS = 300
TOGETHER_MS = 30_000


def rollouts(versions: Sequence[Hit], base_url: str) -> list[dict[str, str]]:
    """One line for each version (oldest first) that changed what pods run, against the one before it.

    The controller numbers a revision a moment after the change: versions close together are one rollout.
    """
    out: list[dict[str, str]] = []
    start: Hit | None = None
    last_ms = 0
    for old, new in _pairs(versions):
        same = bool(out) and new.time_ms - last_ms < TOGETHER_MS and out[-1]["name"] == new.record.get("name")
        base = start if same else old
        if not changed(_object(old), _object(new) or {}):
            continue
        row = {
            "time": rfc3339(new.time_ms),
            "what": str(new.record.get("kind", "Deployment")),
            "name": str(new.record.get("name", "")),
            "change": changed(_object(base), _object(new) or {})[:CHANGE_CHARS],
            "link": record_url(base_url, new.topic, new.partition, new.offset),
        }
        if same:
            out[-1] = row | {"time": out[-1]["time"]}
        else:
            out.append(row)
            start = old
        last_ms = new.time_ms
    return out


def _object(hit: Hit | None) -> Mapping[str, Any] | None:
    value = hit.record.get("object") if hit else None
    return value if isinstance(value, dict) else None


def _pairs(versions: Sequence[Hit]) -> Iterator[tuple[Hit | None, Hit]]:
    last: dict[tuple[str, str, str], Hit] = {}
    for hit in versions:
        key = (str(hit.record.get("cluster")), str(hit.record.get("namespace")), str(hit.record.get("name")))
        yield last.get(key), hit
        last[key] = hit


def changed(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> str:
    """`image pay: shop/pay:1.4 -> shop/pay:1.5, revision 7 -> 8`; empty when pods stay as they are.

    Without the version before it, a new revision is told by what it is: `image pay: shop/pay:1.5, revision 8`.
    """
    before, after = _facts(old or {}), _facts(new)
    if old is not None and _pods(old) == _pods(new) and before == after:
        return ""
    parts = []
    for name, value in after.items():
        if old is None:
            parts.append(f"{name}: {value}")
        elif before.get(name) != value:
            parts.append(f"{name}: {before[name]} → {value}" if name in before else f"{name}: {value} (new)")
    parts += [f"{name}: {value} (removed)" for name, value in before.items() if name not in after]
    if not parts and old is not None:
        parts.append("pod template changed")
    return ", ".join(parts)


def _facts(object_: Mapping[str, Any]) -> dict[str, str]:
    out = {}
    spec = _pods(object_).get("spec") or {}
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        out[f"image {container.get('name', '')}"] = str(container.get("image", ""))
    revision = ((object_.get("metadata") or {}).get("annotations") or {}).get(REVISION)
    if revision:
        out["revision"] = str(revision)
    return out


def _pods(object_: Mapping[str, Any]) -> dict[str, Any]:
    template = (object_.get("spec") or {}).get("template")
    return template if isinstance(template, dict) else {}
