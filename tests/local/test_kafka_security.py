"""OAUTHBEARER and client certificates by every client we have (librdkafka, aiokafka, Faust): a real Kafka over TLS."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
import trustme
from aiokafka import AIOKafkaConsumer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from cryptography.hazmat.primitives.asymmetric import rsa
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth
from pydantic import SecretStr

from deploy.local.broker import Broker
from schemas.catalogue import Topic
from streams import topics
from streams.app import credentials
from streams.bulk import BulkProducer
from streams.errors import Retryable
from streams.kafka import client
from streams.oauth import Tokens
from streams.record import Bulk
from streams.settings import Kafka
from tests.parts.broker import _pkcs8
from tests.parts.process import folder, free_ports
from tests.parts.running import following, until

pytestmark = pytest.mark.long

SECRET = "client-secret"
JAVA = "org.apache.kafka.common.security.oauthbearer"
TOPIC = Topic(name="secured", key="none", record="any", schema="log", retention_hours=1, retention_gib=1)
LISTENERS = """
listener.security.protocol.map=SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT,OAUTH:SASL_SSL,CERTIFICATES:SSL
ssl.keystore.type=PEM
ssl.keystore.location={base}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={base}/ca.pem
listener.name.certificates.ssl.client.auth=required
listener.name.certificates.ssl.principal.mapping.rules=RULE:^.*CN=([^,]+).*$/$1/,DEFAULT
listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.oauth.oauthbearer.sasl.jaas.config={java}.OAuthBearerLoginModule required;
listener.name.oauth.oauthbearer.sasl.server.callback.handler.class={java}.OAuthBearerValidatorCallbackHandler
listener.name.oauth.oauthbearer.sasl.oauthbearer.jwks.endpoint.url={jwks}
listener.name.oauth.oauthbearer.sasl.oauthbearer.expected.audience=kafka
"""


class SecuredBroker(Broker):
    """The embedded one with two listeners more: OAUTHBEARER over TLS, and client certificates."""

    def __init__(self, base: Path, ports: list[int], jwks: str) -> None:
        super().__init__(base, ports[0], ports[1])
        self._more = ports[2:]
        self._jwks = jwks
        self.authority = trustme.CA()

    def _configure(self) -> Path:
        config = super()._configure()
        self.authority.cert_pem.write_to_path(self.dir / "ca.pem")
        (self.dir / "server.pem").write_bytes(_pkcs8(self.authority.issue_cert("127.0.0.1", "localhost")))
        added = ",".join(
            f"{name}://127.0.0.1:{port}" for name, port in zip(("OAUTH", "CERTIFICATES"), self._more, strict=True)
        )
        kept = []
        for line in config.read_text("utf-8").splitlines():
            if line.startswith(("listeners=", "advertised.listeners=")):
                line += f",{added}"
            if "security.protocol.map" not in line:
                kept.append(line)
        config.write_text("\n".join(kept) + LISTENERS.format(base=self.dir, jwks=self._jwks, java=JAVA), "utf-8")
        return config

    def reached(self, listener: int, **how: Any) -> Kafka:
        return Kafka(
            bootstrap_servers=f"127.0.0.1:{self._more[listener]}",
            ca_file=str(self.dir / "ca.pem"),
            replication_factor=1,
            min_insync_replicas=1,
            **how,
        )


class TokenServer:
    """An OAuth 2 token endpoint and its keys (RFC 6749 4.4, RFC 7517), for one client `writer`."""

    def __init__(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
        keys = json.dumps({"keys": [public | {"kid": "1", "alg": "RS256", "use": "sig"}]}).encode()
        self.asked: list[dict[str, list[str]]] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(200, keys)

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                asked.append(form)
                import base64

                who = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
                if who != f"writer:{SECRET}":
                    return self._answer(401, b'{"error":"invalid_client"}')
                now = int(time.time())
                claims = {"sub": "writer", "aud": "kafka", "iat": now, "exp": now + 300, "scope": "bus"}
                token = jwt.encode(claims, key, "RS256", {"kid": "1"})
                body = {"access_token": token, "token_type": "Bearer", "expires_in": 300}
                return self._answer(200, json.dumps(body).encode())

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenServer]:
    server = TokenServer()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.fixture(scope="module")
def secured(tokens: TokenServer) -> Iterator[SecuredBroker]:
    keys = f"{tokens.url}/keys"
    os.environ["JDK_JAVA_OPTIONS"] = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={keys}"
    try:
        with folder("secured") as base:
            part = SecuredBroker(base, free_ports(4), keys)
            part.start()
            try:
                part.wait_ready(120)
                _grant(part.kafka)
                yield part
            finally:
                part.stop()
    finally:
        del os.environ["JDK_JAVA_OPTIONS"]


def _grant(admin: Kafka) -> None:
    topics.apply(admin, [TOPIC])
    rights = [
        AclBinding(ResourceType.TOPIC, TOPIC.name, ResourcePatternType.LITERAL, who, "*", each, AclPermissionType.ALLOW)
        for who in ("User:writer", "User:shipper")
        for each in (AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE_CONFIGS)
    ]
    asking = AdminClient(client(admin))
    for future in asking.create_acls(rights).values():
        future.result()


@pytest.fixture(params=["oauth", "certificate"])
def kafka(request: pytest.FixtureRequest, secured: SecuredBroker, tokens: TokenServer) -> Kafka:
    if request.param == "oauth":
        return oauth(secured, tokens)
    issued = secured.authority.issue_cert("shipper.example.org", common_name="shipper")
    file = secured.dir / "client.pem"
    file.write_bytes(_pkcs8(issued))
    return secured.reached(1, security_protocol="SSL", certificate_file=str(file), key_file=str(file))


def oauth(secured: SecuredBroker, tokens: TokenServer, secret: str = SECRET) -> Kafka:
    return secured.reached(
        0,
        security_protocol="SASL_SSL",
        sasl_mechanism="OAUTHBEARER",
        username="writer",
        password=SecretStr(secret),
        token_url=f"{tokens.url}/token",
        token_scope="bus",
    )


async def test_every_client_gets_in(kafka: Kafka) -> None:
    assert await asyncio.to_thread(topics.diff, kafka, [TOPIC]) == []
    producer = BulkProducer(kafka, "test")
    try:
        await producer.send([Bulk(TOPIC.name, [b"by aiokafka"], [None], [0])])
    finally:
        await producer.close()
    with following(kafka, TOPIC.name) as read:
        await until(lambda: any(value == b"by aiokafka" for _, value in read()), "librdkafka reads what aiokafka wrote")
    consumer = AIOKafkaConsumer(
        TOPIC.name,
        bootstrap_servers=kafka.bootstrap_servers,
        auto_offset_reset="earliest",
        **credentials_to_aiokafka_auth(credentials(kafka)),
    )
    await consumer.start()
    try:
        assert (await asyncio.wait_for(consumer.getone(), 30)).value == b"by aiokafka"
    finally:
        await consumer.stop()


async def test_a_token_is_used_until_most_of_its_life_is_over(secured: SecuredBroker, tokens: TokenServer) -> None:
    now = 0.0
    ours = Tokens(oauth(secured, tokens), lambda: now)
    tokens.asked.clear()
    first = await ours.token()
    now = 239.0
    assert await ours.token() == first
    assert tokens.asked == [{"grant_type": ["client_credentials"], "scope": ["bus"]}]
    now = 241.0
    await ours.token()
    assert len(tokens.asked) == 2


async def test_a_wrong_secret_says_so_and_keeps_it(secured: SecuredBroker, tokens: TokenServer) -> None:
    with pytest.raises(Retryable, match="the token server answers 401") as raised:
        await Tokens(oauth(secured, tokens, "wrong-secret")).token()
    assert "wrong-secret" not in str(raised.value)


def test_without_a_certificate_nobody_gets_in(secured: SecuredBroker) -> None:
    with pytest.raises(Retryable):
        topics.diff(secured.reached(1, security_protocol="SSL"), [TOPIC])
