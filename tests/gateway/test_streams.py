"""Live streams: nothing is missed between one connection and the next, gaps are told, filters filter."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest

from gateway.resume import pack, unpack
from gateway.sessions import Sessions
from streams.record import Outgoing
from tests.gateway.serving import Served, events_of, eventually


@contextmanager
def following(served: Served, topic: str, headers: dict[str, str] | None = None, **params: Any) -> Iterator[Any]:
    """Lines of the stream, once it stands."""
    with served.http.stream(
        "GET", f"/api/v1/streams/{topic}", params=params, headers=served.admin | (headers or {})
    ) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        first: list[str] = []
        while not any(line.startswith("id: ") for line in first):
            first.append(next(lines))
        yield (line for source in (first, lines) for line in source)


def numbers(events: Any) -> list[int]:
    return [event["data"]["record"]["n"] for event in events]


def test_records_come_live_with_where_they_stand(served: Served) -> None:
    with following(served, "gaps") as lines:
        served.produce("gaps", {"id": "a", "n": 1}, b'{\n "n": 2\n}', b"not json", key=b"source")
        events = events_of(lines, 3)
    assert numbers(events[:2]) == [1, 2]
    assert events[2]["data"]["text"] == "not json"
    assert {"topic", "partition", "offset", "key", "time", "record"} <= events[0]["data"].keys()
    assert events[0]["data"]["key"] == "source"


def test_a_reader_that_comes_back_misses_nothing_on_any_partition(served: Served) -> None:
    with following(served, "cicd.events") as lines:
        for n in range(30):
            served.produce("cicd.events", {"n": n}, key=b"k%d" % n)
        events = events_of(lines, 30)
    assert len({event["data"]["partition"] for event in events}) > 1
    place = 11
    for n in range(30, 40):
        served.produce("cicd.events", {"n": n}, key=b"k%d" % n)
    with following(served, "cicd.events", {"Last-Event-ID": events[place]["id"]}) as lines:
        rest = events_of(lines, 40 - place - 1)
    assert sorted(numbers(events[: place + 1]) + numbers(rest)) == list(range(40))


def test_a_resume_point_that_is_not_ours_is_told_and_starts_now(served: Served) -> None:
    for point in ("nonsense", pack({"gaps": {0: 0}}, lambda data: "forged")):
        with following(served, "gaps", {"Last-Event-ID": point}) as lines:
            served.produce("gaps", {"n": 77}, key=b"k")
            told, event = events_of(lines, 2)
        assert told["event"] == "gap"
        assert told["data"]["reason"] == "resume_point"
        assert event["data"]["record"]["n"] == 77


def test_a_point_past_retention_is_a_gap_and_goes_on_with_what_is_there(served: Served) -> None:
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

    from streams.kafka import client

    with following(served, "gaps") as lines:
        served.produce("gaps", *({"n": n} for n in range(10)), key=b"k")
        events = events_of(lines, 10)
    first = events[0]["data"]["offset"]
    admin = AdminClient(client(served.kafka))
    for future in admin.delete_records([TopicPartition("gaps", 0, first + 5)]).values():
        future.result(60)
    with following(served, "gaps", {"Last-Event-ID": events[0]["id"]}) as lines:
        gap, *rest = events_of(lines, 6)
    expected = {"topic": "gaps", "partition": 0, "from": first + 1, "to": first + 5, "reason": "retention"}
    assert (gap["event"], gap["data"]) == ("gap", expected)
    assert numbers(rest) == [5, 6, 7, 8, 9]


def test_the_past_can_be_asked_for(served: Served) -> None:
    now = int(time.time() * 1000)
    served.produce("kube.events", {"n": 1, "type": "Normal"}, timestamp=now - 7_200_000)
    served.produce("kube.events", {"n": 2, "type": "Normal"}, timestamp=now - 60_000)
    with following(served, "kube.events", start="-30m") as lines:
        assert numbers(events_of(lines, 1)) == [2]


def test_filters_by_condition_place_and_word(served: Served) -> None:
    def log(n: int, namespace: str, line: str) -> dict[str, Any]:
        return {"n": n, "log": line, "cluster": "c", "kubernetes": {"namespace_name": namespace}}

    records = [log(1, "shop", "ok"), log(2, "shop", "Error: disk"), log(3, "bank", "Error: disk"), {"n": 4}]
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({"filter": 'namespace == "shop" && message.contains("Error")'}, [2]),
        ({"namespace": "shop"}, [1, 2]),
        ({"q": "error DISK"}, [2, 3]),
        ({"namespace": "bank", "cluster": "c"}, [3]),
    ]
    for params, expected in cases:
        with following(served, "logs", **params) as lines:
            served.produce(
                "logs", *records, log(9, "shop", "Error disk at the end"), log(9, "bank", "Error disk at the end")
            )
            got = numbers(events_of(lines, len(expected) + ends(params)))
        assert sorted(set(got)) == [*expected, 9]


def ends(params: dict[str, Any]) -> int:
    """How many of the two last records pass: one where a namespace is asked for."""
    return 2 if "q" in params else 1


def test_a_tail_by_the_query_language_that_is_cut_off_again_and_again_misses_none(served: Served) -> None:
    def log(n: int) -> dict[str, Any]:
        about = {"namespace_name": "bank" if n % 3 == 0 else "shop", "pod_name": "pay-0"}
        return {"n": n, "log": f"line {n}", "level": "ERROR" if n % 2 else "info", "kubernetes": about, "run": "cut"}

    wanted = [n for n in range(400) if n % 2 and n % 3]
    asked = {"q": "run:cut level:error NOT namespace:bank (line OR nothing)"}
    seen: list[int] = []
    point: dict[str, str] = {}
    sent = 0
    while len(seen) < len(wanted):
        with following(served, "logs", point, **asked) as lines:
            records = range(sent, min(400, sent + 80))
            served.send(*(Outgoing("logs", orjson.dumps(log(n)), b"cut-%d" % n) for n in records))
            sent = min(400, sent + 80)
            expected = len([n for n in wanted if n < sent]) - len(seen)
            events = events_of(lines, min(expected, 17) if sent < 400 else min(expected, 41))
        seen += numbers(events)
        point = {"Last-Event-ID": events[-1]["id"]}
    assert sorted(seen) == wanted


def test_a_tail_refuses_a_query_it_cannot_understand_with_its_position(served: Served) -> None:
    answer = served.http.get("/api/v1/streams/logs", params={"q": "refused OR"}, headers=served.admin)
    assert (answer.status_code, answer.json()["position"], answer.json()["field"]) == (422, 8, "q")


def test_a_wrong_filter_is_named(served: Served) -> None:
    answer = served.http.get("/api/v1/streams/logs", params={"filter": "namespace =="}, headers=served.admin)
    assert answer.status_code == 422
    assert "filter" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("topic", "status"), [("nothing", 404), ("rules.matches", 403), ("alerts", 403), ("logs", 200)]
)
def test_a_stream_needs_the_right_to_its_topic(served: Served, topic: str, status: int) -> None:
    headers = served.token("logs:read", "topics:gaps:read")
    with served.http.stream("GET", f"/api/v1/streams/{topic}", headers=headers) as answer:
        assert answer.status_code == status


def test_several_topics_are_one_stream(served: Served) -> None:
    with following(served, "gaps,platform.audit") as lines:
        served.produce("gaps", {"n": 5}, key=b"k")
        served.http.post("/api/v1/login", json={"username": "streamer", "password": "x"})
        topics = {event["data"]["topic"] for event in events_of(lines, 2)}
    assert topics == {"gaps", "platform.audit"}


def test_a_reader_that_cannot_keep_up_is_told_what_it_missed(served: Served) -> None:
    with following(served, "notifications", overflow="skip") as lines:
        for _ in range(4):
            served.produce("notifications", *({"n": n, "pad": "x" * 2000} for n in range(10_000)))
        time.sleep(3)
        seen, missed = 0, 0
        while seen + missed < 40_000:
            (event,) = events_of(lines, 1)
            if event.get("event") == "gap":
                missed += event["data"]["to"] - event["data"]["from"]
                assert event["data"]["reason"] == "overflow"
            else:
                seen += 1
    assert missed > 0
    assert seen + missed == 40_000


def test_a_stream_that_is_left_is_closed(served: Served) -> None:
    def open_now() -> int:
        lines = served.http.get("/metrics").text.splitlines()
        return int(float(next(line.split()[1] for line in lines if line.startswith("eventsphere_streams "))))

    with following(served, "gaps"):
        assert open_now() >= 1
    eventually(lambda: open_now() == 0)


def polled(served: Served, topic: str, who: dict[str, str] | None = None, **params: Any) -> Any:
    answer = served.http.get(f"/api/v1/streams/{topic}/poll", params=params, headers=who or served.admin)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_shell_polls_and_misses_nothing(served: Served) -> None:
    point = polled(served, "cicd.events", wait=1)["next"]
    for n in range(12):
        served.produce("cicd.events", {"n": n, "polled": True}, key=b"k%d" % n)
    seen: list[int] = []
    while len(seen) < 12:
        answer = polled(served, "cicd.events", after=point, limit=5, wait=5)
        assert len(answer["items"]) <= 5
        assert answer["items"], "nothing came"
        assert answer["gaps"] == []
        seen += [item["record"]["n"] for item in answer["items"]]
        point = answer["next"]
    assert sorted(seen) == list(range(12))
    assert polled(served, "cicd.events", after=point, wait=1)["items"] == []
    wrong = served.http.get("/api/v1/streams/gaps/poll", params={"after": "x"}, headers=served.admin)
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "after")


def test_a_guest_gets_the_records_of_its_tenant_alone(served: Served) -> None:
    guest = served.token("topics:notifications:read", tenant="shop")
    point = polled(served, "notifications", guest, wait=1)["next"]
    for tenant in ("shop", "bank", "platform", "shop"):
        served.produce("notifications", {"id": tenant, "tenant": tenant}, b"no json", key=b"k")
    with following(served, "notifications", guest | {"Last-Event-ID": point}) as lines:
        told = events_of(lines, 2)
    assert [event["data"]["record"]["tenant"] for event in told] == ["shop", "shop"]
    answer = polled(served, "notifications", guest, after=point, wait=2)
    assert [item["record"]["tenant"] for item in answer["items"]] == ["shop", "shop"]
    assert polled(served, "notifications", guest, after=point, wait=1, filter='tenant == "bank"')["items"] == []


AWAY_S, RATE = 2.0, 500


@pytest.mark.parametrize("away_s", [AWAY_S, pytest.param(60.0, marks=[pytest.mark.long, pytest.mark.timeout(300)])])
def test_a_consumer_that_was_away_under_load_misses_none(served: Served, away_s: float) -> None:
    ending = threading.Event()
    sent: list[int] = []

    def load() -> None:
        while not ending.wait(0.1):
            batch = range(len(sent), len(sent) + RATE // 10)
            served.produce("kube.events", *({"n": n, "load": away_s} for n in batch), key=b"k%d" % len(sent))
            sent.extend(batch)

    thread = threading.Thread(target=load)
    seen: list[dict[str, Any]] = []
    with following(served, "kube.events", filter=f"load == {away_s}") as lines:
        thread.start()
        seen += events_of(lines, RATE)
    time.sleep(away_s)
    with following(served, "kube.events", {"Last-Event-ID": seen[-1]["id"]}, filter=f"load == {away_s}") as lines:
        seen += events_of(lines, RATE)
        ending.set()
        thread.join()
        seen += events_of(lines, len(sent) - len(seen))
    assert sorted(numbers(seen)) == sent


def test_resume_points_are_signed() -> None:
    sessions = Sessions("key", 1)

    def sign(data: bytes) -> str:
        return sessions.sign("resume", data)

    positions = {"logs": {0: 5, 3: 7}, "gaps": {}}
    point = pack(positions, sign)
    assert unpack(point, sign) == positions
    assert unpack(point[:-1], sign) is None
    assert unpack("x" + point[1:], sign) is None
    assert unpack("", sign) is None
