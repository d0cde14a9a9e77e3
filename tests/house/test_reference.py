"""The reference is what the code says: every topic, setting, command, metric and agent, as `make docs` writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import acls
from deploy.reference import FOLDER, pages

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_page_is_up_to_date(name: str) -> None:
    assert (ROOT / FOLDER / name).read_text("utf-8") == pages()[name], "run `make docs` and commit what it wrote"


@pytest.mark.parametrize("name", sorted(acls.files()))
def test_the_rights_on_kafka_are_up_to_date(name: str) -> None:
    assert (ROOT / acls.FOLDER / name).read_text("utf-8") == acls.files()[name], "run `make docs`, commit what it wrote"
