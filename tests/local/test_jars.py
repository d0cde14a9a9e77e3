"""The broker's jars: what is cached is used, what is half there is not, what cannot be had is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local import jars


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a network that is not there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    return tmp_path / "eventsphere"


def test_offline_without_a_cache_says_what_to_run(cache: Path) -> None:
    with pytest.raises(jars.NotFetched, match=r"eventsphere fetch"):
        jars.fetch(offline=True)


def test_what_a_killed_download_left_is_not_taken_for_whole(cache: Path) -> None:
    half = cache / "jgo" / jars.KAFKA / "repository" / "kafka.jar"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"PK half")
    with pytest.raises(jars.NotFetched, match=r"could not be fetched from Maven Central .*Error"):
        jars.fetch()
    assert not half.exists()


def test_what_was_fetched_is_found_and_missed_when_it_is_gone(cache: Path) -> None:
    jar = cache / "a.jar"
    jar.parent.mkdir(parents=True)
    jar.touch()
    (cache / f"{jars.KAFKA}.classpath").write_text(str(jar))
    assert jars.fetch(offline=True) == [jar]
    jar.unlink()
    with pytest.raises(jars.NotFetched):
        jars.fetch(offline=True)
