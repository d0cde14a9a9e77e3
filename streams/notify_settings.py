"""Settings of how notifications are delivered: one policy for all, or others by channel and receiver."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Wait = Annotated[float, Field(gt=0, le=86_400)]


class NotifyPolicy(BaseModel):
    """How deliveries over `channel` to `receiver` (globs) are tried and paced; of several the first that fits holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: str = "*"
    receiver: str = "*"
    waits_s: list[Wait] = Field([10.0, 60.0, 600.0, 3600.0], min_length=1, max_length=50)
    """Waits after a refusal for now, with up to a fifth of jitter; the last one again and again."""
    give_up_after_s: float = Field(86_400.0, gt=0, le=30 * 86_400)
    then: Literal["dead_letter", "digest"] = "dead_letter"
    """What is given up goes to `notifications.dlq`, or is told later in one digest to the same target."""
    per_minute: float = Field(0.0, ge=0)
    """Deliveries a minute to one receiver (0: any number); what is over waits."""
    burst: int = Field(0, ge=0)
    """Of them at once (0: a minute's worth)."""
    concurrency: int = Field(1, ge=1, le=64)
    """Deliveries to one server at once. A crash repeats as many: more than 1 only where repeats do no harm."""


DEFAULT = NotifyPolicy()


def policy_for(policies: list[NotifyPolicy], channel: str, receiver: str) -> NotifyPolicy:
    for each in policies:
        if fnmatchcase(channel, each.channel) and fnmatchcase(receiver, each.receiver):
            return each
    return DEFAULT
