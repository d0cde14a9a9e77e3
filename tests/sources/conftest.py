"""A cluster of the module's own, that its tests may restart and whose history they may compact."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parts.kube.cluster import Kube
from tests.parts.kube.cluster import kube as kube_part
from tests.parts.process import Missing
from tests.parts.session import missing


@pytest.fixture(scope="module")
def own_kube() -> Iterator[Kube]:
    try:
        part = kube_part()
        cluster = part.__enter__()
    except Missing as error:
        missing("kube", str(error))
        raise
    try:
        yield cluster
    finally:
        part.__exit__(None, None, None)
