"""The commands that look after tokens, topics and dead letters, against a real broker."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner, Result

from gateway.cli.main import app
from streams.dead_letters import letter
from streams.kafka import client
from streams.record import Record
from streams.settings import Kafka, Settings, environment
from tests.gateway.serving import Served

FULL = {"COLUMNS": "200", "NO_COLOR": "1"}


def command(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env=environment(settings) | FULL, catch_exceptions=False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=str(tmp_path))


def test_a_token_is_printed_once_and_nothing_else(settings: Settings) -> None:
    made = command(settings, "token", "create", "--scope", "logs:write", "--name", "fluent", "--expires", "30d")
    assert made.exit_code == 0
    (text,) = made.stdout.splitlines()
    assert text.startswith("est_")
    assert "nothing has run on" in made.stderr
    (item,) = orjson.loads(command(settings, "token", "list", "--json").stdout)
    assert (item["name"], item["scopes"], item["state"]) == ("fluent", ["logs:write"], "active")
    assert "nothing has run on" not in command(settings, "token", "list").stderr
    assert text.rpartition("_")[2] not in command(settings, "token", "list").stdout
    assert command(settings, "token", "revoke", item["id"]).exit_code == 0
    assert orjson.loads(command(settings, "token", "list", "--json").stdout)[0]["state"] == "revoked"
    assert "token list" in command(settings, "token", "revoke", "nothing").stderr
    assert {file.stat().st_mode & 0o077 for file in Path(settings.data_dir).iterdir()} == {0}


def test_looking_at_a_wrong_folder_makes_nothing_there(tmp_path: Path) -> None:
    wrong = Settings(data_dir=str(tmp_path / "typo"))
    assert command(wrong, "token", "list").exit_code != 0
    assert not (tmp_path / "typo").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["token", "create", "--scope", "nope:read"], "no such scope"),
        (["token", "create", "--scope", "topics:rules.matches:read"], "internal"),
        (["token", "create", "--scope", "logs:read", "--expires", "soon"], "30d"),
        (["token", "create", "--scope", "logs:read", "--tenant", "../x y"], "expected up to 128 letters"),
        (["token", "list"], "name the --data-dir"),
        (["token", "revoke", "nothing"], "name the --data-dir"),
        (["dlq", "list"], "eventsphere up"),
        (["dlq", "replay", "logs"], "--all"),
        (["topics", "diff"], "eventsphere up"),
        (["status"], "eventsphere up"),
    ],
)
def test_a_mistake_is_answered_with_what_to_do(settings: Settings, arguments: list[str], told: str) -> None:
    result = command(settings, *arguments)
    assert result.exit_code != 0
    assert told in result.stderr


def test_a_gateway_takes_the_commands_token(served: Served) -> None:
    text = command(served.settings, "token", "create", "--scope", "logs:read").stdout.strip()
    headers = {"Authorization": f"Bearer {text}"}
    assert served.http.get("/api/v1/me", headers=headers).json()["scopes"] == ["logs:read"]
    assert command(served.settings, "token", "revoke", text).exit_code == 0


def test_topics_are_compared_and_created(served: Served, platform_kafka: Kafka) -> None:
    assert command(served.settings, "topics", "diff").stdout.strip() == "as declared"
    admin = AdminClient(client(platform_kafka))
    for future in admin.delete_topics(["pipelines.runs"]).values():
        future.result(60)
    missing = command(served.settings, "topics", "diff")
    assert missing.exit_code == 1
    assert "pipelines.runs: missing" in missing.stdout
    assert "created pipelines.runs" in command(served.settings, "topics", "apply").stdout
    assert "nothing was missing" in command(served.settings, "topics", "apply").stdout


def test_dead_letters_are_listed_shown_and_replayed(served: Served) -> None:
    for n in range(3):
        record = Record("cicd.events", 0, n, b"k", b'{"n": %d}' % n, 1_767_607_200_000 + n)
        dead = letter(record, agent="a", reason="schema" if n else "other", detail="bad", attempt=1)
        served.send(dead)
    listed = orjson.loads(command(served.settings, "dlq", "list", "cicd.events", "--json").stdout)
    assert [item["original"]["offset"] for item in listed] == [2, 1, 0]
    assert "schema: bad" in command(served.settings, "dlq", "list").stdout
    shown = orjson.loads(command(served.settings, "dlq", "show", "cicd.events", str(listed[0]["offset"])).stdout)
    assert shown["record"] == {"n": 2}
    assert command(served.settings, "dlq", "show", "cicd.events", "999").exit_code == 1
    done = command(served.settings, "dlq", "replay", "cicd.events", "--all", "--reason", "schema")
    assert (done.exit_code, done.stdout.strip()) == (0, "sent 2")
    assert sorted(orjson.loads(r.value or b"")["n"] for r in served.records("cicd.events")) == [1, 2]
    assert command(served.settings, "dlq", "replay", "cicd.events", "999").exit_code == 1


def test_status_says_what_there_is(served: Served) -> None:
    told = command(served.settings, "status", "--json")
    assert told.exit_code == 0, told.output
    document = orjson.loads(told.stdout)
    assert document["ready"]
    assert document["topics"]["logs"]["records"] == 0
    assert "dead letters" in command(served.settings, "status").stdout
