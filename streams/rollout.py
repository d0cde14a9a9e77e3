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


def rollouts(versions: Sequence[Hit], since_ms: int, base_url: str) -> list[dict[str, str]]:
    """One line for each version that changed what pods run since then, against the version before it.

    The controller numbers a revision a moment after the change: versions close together are one rollout. A version
    whose predecessor is not known counts only when it is the object's first.
    """
    out: list[dict[str, str]] = []
    start: Hit | None = None
    last_ms = 0
    for old, new in _pairs(sorted(versions, key=lambda hit: (_time(hit), hit.offset))):
        created = old is None and new.record.get("change") == "added" and not new.record.get("replayed")
        if _time(new) < since_ms or (old is None and not created) or not changed(_object(old), _object(new) or {}):
            continue
        same = start is not None and _time(new) - last_ms < TOGETHER_MS and out[-1]["name"] == new.record.get("name")
        if not same:
            start = old
        row = {
            "time": rfc3339(_time(new)),
            "what": str(new.record.get("kind", "Deployment")) + (" created" if created else ""),
            "name": str(new.record.get("name", "")),
            "change": changed(_object(start), _object(new) or {})[:CHANGE_CHARS],
            "link": record_url(base_url, new.topic, new.partition, new.offset),
        }
        if same:
            out[-1] = row | {"time": out[-1]["time"]}
        else:
            out.append(row)
        last_ms = _time(new)
    return out


def _time(hit: Hit) -> int:
    """When the object changed."""
    own = hit.record.get("time_ms")
    return own if isinstance(own, int) and own > 0 else hit.time_ms


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
