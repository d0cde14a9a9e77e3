"""Silences as this process reads them off the topic. Anybody with a Kafka client may have written one that cannot hold:
such a one is counted, told once, and left out wherever alerts are looked at (streams/muting.py `active`)."""

from __future__ import annotations

import msgspec
import structlog

from schemas.alerts import Silence
from streams.metrics import SILENCES_WRONG
from streams.muting import wrong_matchers

log = structlog.get_logger(__name__)

TOLD = 1000
"""Ids that are remembered as told; beyond it they are counted only."""


class Reading:
    """The `decode` of a view of `silences`. Raises msgspec.DecodeError for what is no silence at all."""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(Silence)
        self._told: set[str] = set()

    def __call__(self, raw: bytes) -> Silence:
        silence = self._decoder.decode(raw)
        if wrong := wrong_matchers(silence):
            SILENCES_WRONG.inc()
            if silence.id not in self._told and len(self._told) < TOLD:
                self._told.add(silence.id)
                log.warning("silence.left_out", silence=silence.id[:128], tenant=silence.tenant[:128], reason=wrong)
        return silence
