"""A whole Eventsphere for the tests of a module, started as its users start it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parts.local import Local
from tests.parts.local import local as part


@pytest.fixture(scope="module")
def platform() -> Iterator[Local]:
    with part() as started:
        yield started
