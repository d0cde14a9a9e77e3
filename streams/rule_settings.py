"""Settings of how much one rule may take of a worker before it is put aside."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class RuleBudget(BaseModel):
    """A rule that takes more is put aside for a while by the worker that saw it: others go on, and an alert says so."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window_s: float = Field(20.0, gt=0, le=3600)
    """Over how long what it takes is counted."""
    cpu_us: float = Field(200.0, gt=0)
    """CPU time of its conditions, in microseconds for each record of its input (a thousand rules take some 10)."""
    matches_per_s: float = Field(5000.0, gt=0)
    """Its matches a second."""
    groups: int = Field(20_000, gt=0)
    """Different groups its matches are of, within the window."""
    errors: int = Field(100, gt=0)
    """Records its conditions could not be evaluated for, within the window."""
    quarantine_s: float = Field(600.0, gt=0)
    """How long it stays aside, if it is not changed before."""
