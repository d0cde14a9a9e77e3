"""Kinds of channels a receiver can have beside the built-in ones: the public hook.

A kind is its configuration (a msgspec Struct, from which validation, documentation and the console's form come), and
how its channel is made. Ours are listed in `OURS`; a package adds another by an entry point of group
`eventsphere.channels` that names a `Kind`:

    [project.entry-points."eventsphere.channels"]
    pigeon = "pigeon_post.channel:KIND"

Receivers of an alertmanager.yml then may have `pigeon_configs`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Annotated, Any, Literal

import msgspec
import structlog
from msgspec import Meta

from schemas import alerting
from streams.sinks.channel import Channel

log = structlog.get_logger(__name__)

GROUP = "eventsphere.channels"
OURS = ("slack", "dingtalk", "wecom", "feishu")
"""Modules of streams/sinks with a `KIND` each."""
SECRET = {"format": "password", "writeOnly": True}
"""What marks a field of a configuration as secret: it may be given as `<field>_file`, and is never shown."""
Url = Annotated[
    str,
    Meta(pattern=r"^https?://[^\s/]+", max_length=4096, description="The webhook's URL.", extra_json_schema=SECRET),
]
Secret = Annotated[str, Meta(max_length=512, extra_json_schema=SECRET)]


class Platform(msgspec.Struct, frozen=True):
    """What a channel is told of where it runs. `base_url`: where links lead; `allow_private`: see the guard."""

    base_url: str
    allow_private: bool = False


class ChatConfig(alerting.Channel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every channel that posts a message has."""

    url: Url
    send_resolved: Annotated[bool, Meta(description="Whether it also hears that alerts resolved.")] = True
    language: Annotated[Literal["en", "zh"], Meta(description="Of our own words.")] = "en"
    template: Annotated[
        str, Meta(max_length=16_384, description="The message as a Jinja template instead of our own form.")
    ] = ""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """`name`: of the channel, and of `<name>_configs`; `page`: the documentation its requests and answers follow."""

    name: str
    title: str
    page: str
    config: type[alerting.Channel]
    make: Callable[[Platform], Channel]

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of one entry of `<name>_configs`."""
        (ref,), parts = msgspec.json.schema_components([self.config], ref_template="{name}")
        found = {"title": self.title, **(parts[ref["$ref"]] if "$ref" in ref else ref)}
        fields = {name: field for name, field in found["properties"].items() if not name.startswith("__")}
        return found | {"properties": fields}

    @property
    def secrets(self) -> frozenset[str]:
        """Fields that may be given as `<field>_file`."""
        return frozenset(name for name, field in self.schema["properties"].items() if is_secret(field))

    def read(self, fields: Mapping[str, Any]) -> alerting.Channel:
        """Raises ValueError saying where and what is expected, without the value."""
        try:
            return msgspec.convert(dict(fields), self.config)
        except (msgspec.ValidationError, RecursionError) as error:
            raise ValueError(str(error) or "nested too deeply") from None


def is_secret(field: Mapping[str, Any]) -> bool:
    return bool(field.get("writeOnly"))


@cache
def kinds() -> dict[str, Kind]:
    """All there are, by name. One that cannot be loaded is left out, and the log says why."""
    found: dict[str, Kind] = {}
    for name in OURS:
        found[name] = importlib.import_module(f"streams.sinks.{name}").KIND
    for point in sorted(entry_points(group=GROUP), key=lambda each: each.name):
        try:
            kind = point.load()
            if not isinstance(kind, Kind):
                raise TypeError(f"{point.value} is no Kind")
            if kind.name in found:
                raise ValueError(f"there already is a channel {kind.name}")
        except Exception as error:
            log.error("channel.not_loaded", entry_point=point.value, error=f"{type(error).__name__}: {error}")
            continue
        found[kind.name] = kind
    return found
