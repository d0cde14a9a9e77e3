"""A folder and an S3-compatible store do the same."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from streams.archive import s3
from streams.archive.sigv4 import signed
from streams.archive.store import Store, open_store
from streams.errors import Fatal, Retryable
from streams.settings import Archive


async def names(store: Store, prefix: str, after: str = "") -> list[str]:
    return [name async for name in store.names(prefix, after)]


async def test_what_is_put_is_got_listed_and_deleted(store: Store) -> None:
    assert await store.get("logs/x") is None
    for name in ("logs/b/2", "logs/a/1", "logs/a/10", "logs/a/2+ü =&.json", "other/1"):
        await store.put(name, name.encode() * 1000)
    await store.put("logs/a/1", b"another")
    assert await store.get("logs/a/1") == b"another"
    assert await store.get("logs/a/2+ü =&.json") == "logs/a/2+ü =&.json".encode() * 1000
    assert await names(store, "logs/") == ["logs/a/1", "logs/a/10", "logs/a/2+ü =&.json", "logs/b/2"]
    assert await names(store, "logs/a/", "logs/a/1") == ["logs/a/10", "logs/a/2+ü =&.json"]
    assert await names(store, "nothing/") == []
    await store.delete("logs/a/10")
    await store.delete("logs/a/10")
    assert await names(store, "logs/a/1") == ["logs/a/1"]


async def test_an_empty_object_is_an_object(store: Store) -> None:
    await store.put("logs/empty", b"")
    assert await store.get("logs/empty") == b""


async def test_a_listing_of_many_pages_is_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PAGE", 3)
    wanted = [f"many/{n:05d}" for n in range(10)]
    for name in wanted:
        await store.put(name, b"x")
    assert await names(store, "many/") == wanted


@pytest.mark.parametrize("archive", ["s3"], indirect=True)
async def test_a_wrong_key_is_refused_and_can_be_tried_again(archive: Archive) -> None:
    store = open_store(archive.model_copy(update={"s3_secret_key": Archive(s3_secret_key="no").s3_secret_key}))
    with pytest.raises(Retryable) as caught:
        await store.put("logs/x", b"x")
    assert caught.value.reason == "archive_denied"
    assert "no" not in str(caught.value).split()
    await store.close()


async def test_a_store_that_is_away_is_retryable() -> None:
    store = open_store(Archive(url="s3://b/p", s3_endpoint="http://127.0.0.1:9", s3_access_key="a"))
    with pytest.raises(Retryable) as caught:
        await store.get("x")
    assert caught.value.reason == "archive_away"
    await store.close()


@pytest.mark.parametrize("url", ["/folder", "file://host/folder", "s3:///prefix", "http://x/y", "s3"])
def test_a_url_of_no_store_is_fatal(url: str) -> None:
    with pytest.raises(Fatal, match=r"archive\.url"):
        open_store(Archive(url=url))


def test_a_signature_is_the_one_of_the_published_example() -> None:
    """GET of an object with a range, from AWS's documentation of the header-based signature."""
    found = signed(
        "GET",
        "examplebucket.s3.amazonaws.com",
        "/test.txt",
        {},
        {"Range": "bytes=0-9"},
        b"",
        access_key="AKIAIOSFODNN7EXAMPLE",
        secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        region="us-east-1",
        now=datetime(2013, 5, 24, tzinfo=UTC),
    )
    signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    assert found["authorization"].endswith(f"Signature={signature}")
