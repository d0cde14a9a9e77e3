"""What is searched of a record, by kind of document: the one place both adapters and their readers agree in. Pure.

Every field is a set of values, because a record may name a thing in several ways (a pod's workload by two labels and
by its own name); a filter asks for one of them. Values over `MAX_WORD` characters are not searchable by filters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from schemas.base import UNREADABLE
from streams.sinks.index import language_fields
from streams.sinks.index.language_fields import TEXTS, About, terms_of
from streams.sinks.index.port import Kind

MAX_WORD = 1024
SHOWN_DEPTH = 100
"""Of objects and arrays within each other in an answer: what JSON readers take."""
APP_LABELS = ("app.kubernetes.io/name", "app")
HASH = "([0-9a-f]{4,10}|[bcdfghjklmnpqrstvwxz2456789]{6,10})"
"""A ReplicaSet's pod-template hash: Kubernetes' alphabet without vowels, or the hex of older versions."""
SUFFIX = f"(({HASH}-)?[a-z0-9]{{5}}|[0-9]+)"
"""What controllers append to their name for a pod's: Deployment, DaemonSet and Job, StatefulSet."""
_OWNED = tuple(re.compile(rf"(.+)-{tail}") for tail in (f"{HASH}-[a-z0-9]{{5}}", "[a-z0-9]{5}", "[0-9]+"))
_REPLICA_SET = re.compile(rf"(.+)-{HASH}")
_CONTAINER = re.compile(r"spec\.(?:initC|ephemeralC|c)ontainers\{(.+)\}")
_UNOWNED = frozenset({"Node", "Namespace", "PersistentVolume", "ClusterRole", "ClusterRoleBinding"})

KNOWN_BYTES = 2048
"""A longer `kubernetes` is not remembered."""
_decode = msgspec.json.Decoder().decode
_decode_top = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class Fields(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Searchable values of one record; the names are `Query`'s, `text` is what keywords are looked for in."""

    cluster: tuple[str, ...] = ()
    namespace: tuple[str, ...] = ()
    workload: tuple[str, ...] = ()
    pod: tuple[str, ...] = ()
    container: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    """A log record's own fields, as `language_fields.terms` writes them."""


def decode(value: bytes) -> dict[str, Any]:
    """The JSON object in `value`; invalid UTF-8 in it becomes U+FFFD. Raises ValueError saying what it is instead."""
    try:
        record = _decode(value)
    except UnicodeDecodeError:
        return decode(value.decode("utf-8", "replace").encode())
    except msgspec.DecodeError as error:
        if "UTF-8" in str(error) and b"\xef\xbf\xbd" not in value:
            return decode(value.decode("utf-8", "replace").encode())
        raise ValueError(f"not JSON: {error}") from None
    except RecursionError:
        raise ValueError("not JSON: nested too deeply") from None
    if not isinstance(record, dict):
        raise ValueError(f"a JSON {type(record).__name__}, not an object")
    return record


def readable(record: dict[str, Any]) -> dict[str, Any]:
    """The record as an answer can carry it: what nests deeper than `SHOWN_DEPTH` is left out. The record in Kafka has
    it all."""
    level: list[Any] = [record]
    for _ in range(SHOWN_DEPTH):
        level = [inner for each in level for inner in _inside(each) if isinstance(inner, (dict, list))]
        if not level:
            return record
    return {name: _cut(value, SHOWN_DEPTH - 1) for name, value in record.items()}


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _cut(value: Any, depth: int) -> Any:
    if not isinstance(value, (dict, list)):
        return value
    if not depth:
        return "…"
    if isinstance(value, dict):
        return {name: _cut(inner, depth - 1) for name, inner in value.items()}
    return [_cut(inner, depth - 1) for inner in value]


def draw(kind: Kind, record: Mapping[str, Any]) -> Fields:
    """The searchable values of a decoded record. Whatever is not of the expected type is left out."""
    if "specversion" in record and isinstance(record.get("data"), dict):
        record = record["data"]  # a CloudEvent in structured mode
    return _DRAW[kind](record)


class _Container(NamedTuple):
    """What `kubernetes` of a log record says: mostly the same as that of the line before."""

    about: About
    namespace: tuple[str, ...] = ()
    workload: tuple[str, ...] = ()
    pod: tuple[str, ...] = ()
    container: tuple[str, ...] = ()


def _container(found: Any) -> _Container:
    about = found if isinstance(found, dict) else {}
    labels = _object(about, "labels")
    pods = _words(about.get("pod_name"))
    return _Container(
        language_fields.about(found),
        namespace=_words(about.get("namespace_name")),
        workload=_words(*(labels.get(name) for name in APP_LABELS), *owners(pods)),
        pod=pods,
        container=_words(about.get("container_name")),
    )


@lru_cache(maxsize=2048)
def _known_container(raw: bytes) -> _Container:
    return _container(_decode(raw))


def _logs(record: Mapping[str, Any]) -> Fields:
    return _log(record, _container(record.get("kubernetes")))


def _log(record: Mapping[str, Any], container: _Container) -> Fields:
    return Fields(
        cluster=_words(record.get("cluster")),
        namespace=container.namespace,
        workload=container.workload,
        pod=container.pod,
        container=container.container,
        tenants=_words(record.get("tenant")),
        text=tuple(_each(_texts, *(record[name] for name in TEXTS if name in record))),
        own=terms_of(container.about, record),
    )


def drawn(value: bytes) -> Fields:
    """`draw` of the log record in `value`. Raises ValueError as `decode` does."""
    try:
        top = _decode_top(value)
        raw = bytes(top.pop("kubernetes", b"null"))
        if "specversion" not in top:
            container = _known_container(raw) if len(raw) <= KNOWN_BYTES else _container(_decode(raw))
            return _log({name: _decode(each) for name, each in top.items()}, container)
    except UNREADABLE:
        pass  # `decode` knows what it is, and mends some
    return draw(Kind.LOGS, decode(value))


def _events(record: Mapping[str, Any]) -> Fields:
    about = _object(record, "involved")
    kind, name = about.get("kind"), _words(about.get("name"))
    field = _CONTAINER.fullmatch(str(about.get("field_path", "")))
    return Fields(
        cluster=_words(record.get("cluster")),
        namespace=_words(about.get("namespace"), record.get("namespace")),
        workload=_workload(kind, name),
        pod=name if kind == "Pod" else (),
        container=(field[1],) if field else (),
        names=_words(
            *(record.get(key) for key in ("id", "reason", "type", "name", "action", "reporting_component")),
            *(about.get(key) for key in ("kind", "name", "uid")),
        ),
        tenants=_words(record.get("tenant")),
        text=(*_texts(record.get("message")), *_texts(record.get("reason")), *name),
    )


def _objects(record: Mapping[str, Any]) -> Fields:
    kind, name = record.get("kind"), _words(record.get("name"))
    return Fields(
        cluster=_words(record.get("cluster")),
        namespace=_words(record.get("namespace")),
        workload=_workload(kind, name),
        pod=name if kind == "Pod" else (),
        names=_words(*(record.get(key) for key in ("id", "kind", "name", "uid", "change"))),
        tenants=_words(record.get("tenant")),
        text=(*_texts(kind), *name, *_images(_object(record, "object"))),
    )


def _gaps(record: Mapping[str, Any]) -> Fields:
    return Fields(
        cluster=_words(record.get("cluster")),
        names=_words(*(record.get(key) for key in ("id", "source", "topic"))),
        tenants=_words(record.get("tenant")),
        text=(*_texts(record.get("reason")), *_texts(record.get("source"))),
    )


def _audit(record: Mapping[str, Any]) -> Fields:
    named = ("id", "actor", "verb", "object", "result", "address", "request_id")
    return Fields(
        cluster=_words(record.get("cluster")),
        names=_words(*(record.get(key) for key in named)),
        tenants=_words(record.get("tenant")),
        text=tuple(_each(_texts, *(record.get(key) for key in ("actor", "verb", "object", "reason")))),
    )


def _notifications(record: Mapping[str, Any]) -> Fields:
    alerts = [alert for alert in _list(record.get("alerts")) if isinstance(alert, dict)]
    labels = [_object(alert, "labels") for alert in alerts]
    notes = [_object(alert, "annotations") for alert in alerts]
    named = ("id", "receiver", "group_key", "decision", "status", "thread", "resend_of")
    records = [each for alert in alerts for each in _list(alert.get("evidence")) if isinstance(each, dict)]
    pods = _words(*(each.get("pod") for each in labels))
    return Fields(
        cluster=_words(*(alert.get("cluster") for alert in alerts), *(each.get("cluster") for each in labels)),
        namespace=_words(*(each.get("namespace") for each in labels)),
        workload=_words(*(each.get(key) for each in labels for key in ("workload", "deployment")), *owners(pods)),
        pod=pods,
        container=_words(*(each.get("container") for each in labels)),
        names=_words(
            *(record.get(key) for key in named),
            *(alert.get(key) for alert in alerts for key in ("fingerprint", "episode")),
            *(each.get("alertname") for each in labels),
            *("/".join(str(each.get(key, 0)) for key in ("topic", "partition", "offset")) for each in records),
        ),
        tenants=_words(record.get("tenant")),
        text=tuple(
            _each(
                _texts,
                record.get("reason"),
                *(each.get("alertname") for each in labels),
                *(each.get(key) for each in notes for key in ("summary", "description", "message")),
            )
        ),
    )


def _outcomes(record: Mapping[str, Any]) -> Fields:
    return Fields(
        names=_words(*(record.get(key) for key in ("notification", "receiver", "channel", "result"))),
        tenants=_words(record.get("tenant")),
        text=(*_texts(record.get("target")), *_texts(record.get("reason"))),
    )


_DRAW: dict[Kind, Callable[[Mapping[str, Any]], Fields]] = {
    Kind.LOGS: _logs,
    Kind.EVENTS: _events,
    Kind.OBJECTS: _objects,
    Kind.GAPS: _gaps,
    Kind.AUDIT: _audit,
    Kind.NOTIFICATIONS: _notifications,
    Kind.OUTCOMES: _outcomes,
}


def owners(pods: Iterable[str]) -> list[str]:
    """Names of what may own pods of these names, the pods themselves included: `pay-7d9c-x2k4p` -> `pay`, ..."""
    out = []
    for pod in pods:
        out += [pod, *(match[1] for form in _OWNED if (match := form.fullmatch(pod)))]
    return out


def _workload(kind: object, name: tuple[str, ...]) -> tuple[str, ...]:
    if kind in _UNOWNED:
        return ()
    if kind == "Pod":
        return _words(*owners(name))
    stripped = [match[1] for each in name if kind == "ReplicaSet" and (match := _REPLICA_SET.fullmatch(each))]
    return _words(*name, *stripped)


def _images(manifest: Mapping[str, Any]) -> Iterable[str]:
    """Container images of a workload's or a pod's manifest."""
    spec = _object(manifest, "spec")
    pod = _object(_object(spec, "template"), "spec") or spec
    for container in (*_list(pod.get("initContainers")), *_list(pod.get("containers"))):
        if isinstance(container, dict):
            yield from _texts(container.get("image"))


def _object(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _words(*values: object) -> tuple[str, ...]:
    """Exact words: scalars as text, lists one by one, without repeats."""
    if len(values) == 1 and (values[0] is None or type(values[0]) is str):
        return (values[0],) if values[0] and len(values[0]) <= MAX_WORD else ()
    found = (word for word in _each(_scalars, *values) if word and len(word) <= MAX_WORD)
    return tuple(dict.fromkeys(found))


def _texts(value: object) -> tuple[str, ...]:
    """Text to look for keywords in: like words, but of any length, and objects as their JSON."""
    if type(value) is str:
        return (value,) if value else ()
    if isinstance(value, dict):
        return (_encode(value).decode(),)
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        return (_encode(value).decode(),)
    return tuple(word for word in _scalars(value) if word)


def _scalars(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (bool, int, float)):
        yield _encode(value).decode()
    elif isinstance(value, list):
        for item in value:
            if not isinstance(item, (dict, list)):
                yield from _scalars(item)


def _each(take: Callable[[Any], Iterable[str]], *values: object) -> Iterable[str]:
    for value in values:
        yield from take(value)
