"""Bytes that nobody can read are invalid, whoever reads them: never an unknown error, which would be tried again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agents import group_notifications, keep_alert_state
from gateway import am_alerts, am_silences, cloudevents, ingest
from streams import outbox, triggers
from streams.errors import Invalid
from streams.record import Record

DEEP = b'{"labels":' + b'[{"a":' * 50_000
NOT_UTF8 = b'{"labels":{"a":"\xff"},"id":"\xff","matchers":[{"name":"\xff"}],"receiver":"\xff"}'
NOTHING = [DEEP, b"[" * 100_000, NOT_UTF8, b"", b"null", b"\x00", b'{"labels":1e999}']
POSTER = am_alerts.Poster("platform", "local", "prometheus", 1_800_000_000_000, 300_000)


@pytest.mark.parametrize("value", NOTHING, ids=range(len(NOTHING)))
@pytest.mark.parametrize(
    "parse",
    [keep_alert_state.parse, group_notifications.parse, outbox.parse, triggers.parse],
    ids=lambda f: f.__module__,
)
def test_agents_call_it_invalid(parse: Callable[[Record], object], value: bytes) -> None:
    with pytest.raises(Invalid) as failure:
        parse(Record("any", 0, 0, b"k", value, 1_800_000_000_000))
    assert failure.value.reason == "decode"


@pytest.mark.parametrize("value", NOTHING, ids=range(len(NOTHING)))
def test_the_gateway_tells_the_sender(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        am_alerts.posted(value, POSTER)
    with pytest.raises(ValueError, match=r"."):
        am_silences.read(value)
    for kind in (cloudevents.STRUCTURED, cloudevents.BATCH):
        with pytest.raises(Invalid):
            cloudevents.read({"content-type": kind}, value)


@pytest.mark.parametrize("value", [b"[" * 100_000, b'[{"a":' * 50_000, b'["\xff"', b"[\x00]"])
def test_an_array_of_logs_that_is_none(value: bytes) -> None:
    with pytest.raises(Invalid):
        ingest.bulks(value, ingest.Sender("c", "", ""), now_ms=1, limit=1 << 20)
