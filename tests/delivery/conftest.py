from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parts.postfix import Postfix, postfix
from tests.parts.process import Missing
from tests.parts.session import missing
from tests.parts.smtpd import Smtpd, smtpd


@pytest.fixture
def smtp() -> Iterator[Smtpd]:
    with smtpd() as server:
        yield server


@pytest.fixture(scope="module")
def real_postfix() -> Iterator[Postfix]:
    try:
        with postfix() as server:
            yield server
    except Missing as error:
        missing("postfix", str(error))
