"""How far a matcher is in event time, partition by partition: what it tells the windows. Pure.

Records reach us some time after their own time: a moment when a node sends them as they come, an hour when it catches
up. So after its last record a partition's time goes on at the speed of the clock from that record's time. When it was
silent for a while it is taken to be at the clock: soon after old records (`SILENT_MS`), later after those of a usual
delay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from schemas.rules import Mark
from streams.batch import Batch

SILENT_MS = 5_000
USUAL_FOR_MS = 60_000
SAMPLE = 16

TP = tuple[str, int]


class _Last(NamedTuple):
    time_ms: int
    at_ms: int
    told: bool


class Reading:
    def __init__(self) -> None:
        self._last: dict[TP, _Last] = {}

    def read(self, batch: Batch, now_ms: int) -> None:
        """All matches of `batch` and of what is before it are in Kafka."""
        newest = max(message.timestamp()[1] for message in batch.messages[-SAMPLE:])
        time_ms = min(newest, now_ms) if newest > 0 else now_ms
        self._last[batch.topic, batch.partition] = _Last(time_ms, now_ms, told=False)

    def keep(self, assigned: Iterable[TP]) -> None:
        """Forget partitions that went elsewhere."""
        mine = set(assigned)
        self._last = {tp: last for tp, last in self._last.items() if tp in mine}

    def marks(self, positions: Mapping[TP, int], ends: Mapping[TP, int], asked_ms: int) -> list[Mark]:
        """`ends`: where the partitions ended at `asked_ms` or later; `positions`: before which all is matched.

        A partition read to its end says where it is by the clock, any other by its last batch (once).
        """
        out = []
        for tp, position in positions.items():
            last = self._last.get(tp)
            if 0 <= ends.get(tp, -1) <= position:
                out.append(Mark(topic=tp[0], partition=tp[1], time_ms=_passed(last, asked_ms), at_ms=asked_ms))
            elif last is not None and not last.told:
                out.append(Mark(topic=tp[0], partition=tp[1], time_ms=last.time_ms, at_ms=last.at_ms))
                self._last[tp] = last._replace(told=True)
        return out


def _passed(last: _Last | None, now_ms: int) -> int:
    if last is None:
        return now_ms
    delay, silent = last.at_ms - last.time_ms, now_ms - last.at_ms
    if silent >= (USUAL_FOR_MS if delay <= SILENT_MS else SILENT_MS):
        return now_ms
    return now_ms - delay
