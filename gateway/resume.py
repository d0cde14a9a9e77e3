"""Resume points of live streams: the next offset of every partition of every topic read, signed. Pure."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Mapping

MAX_LENGTH = 4096
Positions = dict[str, dict[int, int]]
"""topic -> partition -> the next offset to be read."""
Sign = Callable[[bytes], str]


def pack(positions: Mapping[str, Mapping[int, int]], sign: Sign) -> str:
    text = ";".join(
        f"{topic}:" + ",".join(f"{partition}.{offset}" for partition, offset in offsets.items())
        for topic, offsets in positions.items()
    ).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=") + "~" + sign(text)


def unpack(point: str, sign: Sign) -> Positions | None:
    """None when it is not one of ours, whole and unchanged."""
    packed, _, signature = point.partition("~")
    if len(point) > MAX_LENGTH or not signature:
        return None
    try:
        text = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        if not hmac.compare_digest(sign(text).encode(), signature.encode()):
            return None
        out: Positions = {}
        for part in filter(None, text.decode().split(";")):
            topic, _, offsets = part.partition(":")
            pairs = (pair.partition(".") for pair in filter(None, offsets.split(",")))
            out[topic] = {int(partition): int(offset) for partition, _, offset in pairs}
    except (binascii.Error, ValueError):
        return None
    return out
