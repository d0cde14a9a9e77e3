"""An index of each adapter that keeps records for a while only, with a clock of the test's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from streams.settings import Index as IndexSettings
from streams.settings import Retention, RetentionRule, Settings
from streams.sinks.index.port import Index, open_index
from tests.index.conftest import NOON

DAY_MS = 86_400_000
KEPT = Retention(
    default_days=7, rules=[RetentionRule(namespace="brief-*", days=2), RetentionRule(namespace="long", days=30)]
)
NOW = NOON + DAY_MS // 4


class Kept:
    """`index` shows what `KEPT` lets it at `now`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.now = NOW
        self.index: Index = open_index(settings, writer=True, clock=self.clock)
        self.bare: Index = open_index(settings.model_copy(update={"retention": Retention()}), writer=False)

    def clock(self) -> int:
        return self.now


@pytest.fixture(params=["tantivy", "elasticsearch"])
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kept]:
    own = IndexSettings(commit_interval_s=0.05)
    if request.param == "elasticsearch":
        own = IndexSettings(url=request.getfixturevalue("elasticsearch"), prefix=f"t{uuid4().hex[:10]}")
    out = Kept(Settings(data_dir=str(tmp_path), index=own, retention=KEPT))
    await out.index.open()
    yield out
    await out.index.close()
    await out.bare.close()
