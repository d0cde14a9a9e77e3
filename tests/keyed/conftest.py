"""These tests kill and fence a lot: what is logged about it would hide what failed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs


@pytest.fixture(autouse=True, scope="package")
def quiet() -> Iterator[None]:
    with capture_logs():
        yield
