"""The gateway, served over a broker of the module's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streams.settings import Kafka
from tests.gateway.serving import Served, serving


@pytest.fixture(scope="module")
def served(platform_kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(platform_kafka, tmp_path_factory.mktemp("gateway")) as out:
        yield out
