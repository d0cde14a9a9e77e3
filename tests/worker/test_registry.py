"""Every agent is found by its file's name, and every stateful one has a state topic in the catalogue."""

from __future__ import annotations

import asyncio

import pytest

from agents.registry import agent_name, chosen, modules
from schemas.catalogue import catalogue
from streams.errors import Fatal
from streams.settings import Kafka, Settings
from streams.worker import Worker


def test_all_agents_are_found_in_order() -> None:
    names = list(chosen([]))
    assert names == sorted(names)
    assert names == [agent_name(module) for module in modules()]
    assert "index-logs" in names


def test_some_can_be_chosen() -> None:
    assert list(chosen(["index-logs"])) == ["index-logs"]


def test_an_unknown_one_is_named_with_those_there_are() -> None:
    with pytest.raises(Fatal, match=r"no agent called nope; there are: .*index-logs"):
        chosen(["nope"])


def test_what_agents_read_and_keep_is_in_the_catalogue() -> None:
    async def registered() -> Worker:
        worker = Worker(Settings(kafka=Kafka(bootstrap_servers="127.0.0.1:1")))
        for register in chosen([]).values():
            register(worker)
        return worker

    worker = asyncio.run(registered())
    read = {topic for source in worker.sources.values() for topic in source.topics}
    kept = {keyed.state_topic for keyed in worker.keyed.values()}
    assert read | kept | set(worker.views) <= catalogue().keys()
