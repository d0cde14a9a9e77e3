"""Archives in a folder and in a store that speaks S3."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from streams.archive.store import Store, open_store
from streams.settings import Archive
from tests.parts.s3 import BUCKET, S3


@pytest.fixture(params=["folder", "s3"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Archive:
    if request.param == "folder":
        return Archive(url=(tmp_path / "an archive").as_uri())
    server: S3 = request.getfixturevalue("s3")
    return Archive(
        url=f"s3://{BUCKET}/{uuid4().hex}/of logs",
        s3_endpoint=server.url,
        s3_access_key=server.access_key,
        s3_secret_key=server.secret_key,
    )


@pytest.fixture
async def store(archive: Archive) -> AsyncIterator[Store]:
    out = open_store(archive)
    yield out
    await out.close()
