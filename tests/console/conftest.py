"""The console, served by the real gateway over a broker of the module's own, and a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Error, sync_playwright

from streams.settings import Kafka
from tests.gateway.serving import Served, serving
from tests.parts.session import missing


@pytest.fixture(scope="module")
def served(platform_kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(platform_kafka, tmp_path_factory.mktemp("console")) as out:
        yield out


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium, headless."""
    path = shutil.which("chromium") or "/usr/bin/chromium"
    if not os.access(path, os.X_OK):
        missing("chromium", "it is not installed (Debian package chromium)")
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except Error as error:
            missing("chromium", str(error).splitlines()[0])
        yield chromium
        chromium.close()
