"""Schemas to a registry that answers as Confluent's does (docs.confluent.io, Schema Registry API: subjects, errors)."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner, Result

from gateway.cli.main import app
from schemas.catalogue import declared
from schemas.compatibility import breaks
from schemas.jsonschema import schema

PUBLIC = sorted(f"{name}-value" for name, topic in declared().items() if topic.public)


class Registry(ThreadingHTTPServer):
    """Ids by schema text; a subject's next version must not break the one before (else 409, error_code 409)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.subjects: dict[str, list[int]] = {}
        self.schemas: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != "Basic " + base64.b64encode(b"me:secret").decode():
            return self._answer(401, {"error_code": 401, "message": "Unauthorized"})
        assert self.headers["Content-Type"] == "application/vnd.schemaregistry.v1+json"
        _, where, subject, versions = self.path.split("/")
        assert (where, versions, body["schemaType"]) == ("subjects", "versions", "JSON")
        held = self.server.subjects.setdefault(unquote(subject), [])
        if held and breaks(json.loads(self.server.schemas[held[-1] - 1]), json.loads(body["schema"])):
            return self._answer(409, {"error_code": 409, "message": "Schema being registered is incompatible"})
        if body["schema"] not in self.server.schemas:
            self.server.schemas.append(body["schema"])
        number = self.server.schemas.index(body["schema"]) + 1
        if number not in held:
            held.append(number)
        return self._answer(200, {"id": number})

    def _answer(self, status: int, body: object) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def publish(url: str, password_file: Path) -> Result:
    given = ["--registry", url, "--username", "me", "--password-file", str(password_file)]
    return CliRunner().invoke(app, ["topics", "publish-schemas", *given], catch_exceptions=False)


def test_schemas_are_registered_once(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n", "ascii")
    for _ in range(2):
        done = publish(registry.url, tmp_path / "password")
        assert done.exit_code == 0, done.output
        assert sorted(line.split()[0] for line in done.output.splitlines()) == PUBLIC
    assert {len(versions) for versions in registry.subjects.values()} == {1}
    assert json.loads(registry.schemas[0])["$schema"].endswith("2020-12/schema")


def test_what_the_registry_refuses_is_told(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret", "ascii")
    older = schema(declared()["alerts"]) | {"properties": {"gone": {"type": "string"}}}
    older.pop("$ref")
    registry.schemas.append(json.dumps(older))
    registry.subjects["alerts-value"] = [1]
    done = publish(registry.url, tmp_path / "password")
    assert (done.exit_code, "409: " in done.stderr, "incompatible" in done.stderr) == (1, True, True)
    (tmp_path / "password").write_text("wrong", "ascii")
    done = publish(registry.url, tmp_path / "password")
    assert (done.exit_code, "401" in done.stderr, "wrong" in done.stderr) == (1, True, False)
