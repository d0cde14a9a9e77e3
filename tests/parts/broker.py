"""Kafka brokers for tests: the product's own embedded broker, on free ports, in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from deploy.local.broker import Broker
from streams.settings import Kafka
from tests.parts.process import folder, free_ports

TLS = """
listener.security.protocol.map=SASL_PLAINTEXT:SASL_SSL,CONTROLLER:SASL_PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={base}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={base}/ca.pem
"""


class TlsBroker(Broker):
    """The same with TLS on its listener: SASL_SSL, as a Kafka elsewhere would be reached."""

    @property
    def kafka(self) -> Kafka:
        secure = {"security_protocol": "SASL_SSL", "ca_file": str(self.dir / "ca.pem")}
        return super().kafka.model_copy(update=secure)

    def _configure(self) -> Path:
        config = super()._configure()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.dir / "ca.pem")
        (self.dir / "server.pem").write_bytes(_pkcs8(authority.issue_cert("127.0.0.1", "localhost")))
        kept = [line for line in config.read_text("utf-8").splitlines() if "security.protocol.map" not in line]
        config.write_text("\n".join(kept) + TLS.format(base=self.dir), "utf-8")
        return config


def _pkcs8(certificate: trustme.LeafCert) -> bytes:
    """Key and chain in one PEM; Java reads keys in PKCS #8 only."""
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        load_pem_private_key,
    )

    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem + b"".join(part.bytes() for part in certificate.cert_chain_pems)


@contextmanager
def broker(*, tls: bool = False, users: dict[str, str] | None = None) -> Iterator[Broker]:
    """A ready broker; `users` are further SCRAM users without rights."""
    port, controller = free_ports(2)
    with folder("broker") as base:
        part = (TlsBroker if tls else Broker)(base, port, controller, users=users)
        part.start()
        try:
            part.wait_ready(120)
            yield part
        finally:
            part.stop()
