from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parts.jenkins import Jenkins, jenkins


@pytest.fixture
def server() -> Iterator[Jenkins]:
    with jenkins() as part:
        part.state.jobs["pay-build"] = ["EVENTSPHERE_RUN_ID", "COMMIT"]
        part.state.jobs["team/pay"] = ["EVENTSPHERE_RUN_ID"]
        yield part
