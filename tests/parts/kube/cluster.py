"""kube-apiserver over etcd, and handles to do to it what happens to clusters: restarts and compacted history."""

from __future__ import annotations

import json
import secrets
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import trustme
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.parts.kube.build import API, binaries
from tests.parts.process import Process, answers, folder, free_ports, running

AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, users: ["system:apiserver", "system:kube-controller-manager"]}
- {level: None, resources: [{group: coordination.k8s.io, resources: [leases]}]}
- level: RequestResponse
  verbs: [create, update, patch, delete, deletecollection]
  resources: [{group: apps}, {group: rbac.authorization.k8s.io}]
- {level: Metadata}
"""


class Refused(Exception):
    """The API answered with an error. `status` is the HTTP status, `body` its Status object."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status}: {body.get('message', body)}")
        self.status = status
        self.body = body


class Kube:
    """A cluster. `kubeconfig` is the admin's; tokens: `admin_token` (system:masters), `nobody_token` (no right)."""

    def __init__(self, base: Path, audit_url: str = "") -> None:
        self.base = base
        self.port, self._etcd_port, self._peer_port = free_ports(3)
        self.url = f"https://127.0.0.1:{self.port}"
        self.etcd_url = f"http://127.0.0.1:{self._etcd_port}"
        self.admin_token = secrets.token_urlsafe(16)
        self.nobody_token = secrets.token_urlsafe(16)
        self.controller_token = secrets.token_urlsafe(16)
        self.audit_log = base / "audit.log"
        """One audit.k8s.io/v1 Event a line."""
        self._bin = binaries(*API)
        self._write_keys()
        self._ssl = ssl.create_default_context(cafile=str(self.ca_file))
        self.kubeconfig = self.kubeconfig_for(self.admin_token)
        peer, client = f"http://127.0.0.1:{self._peer_port}", self.etcd_url
        self.etcd = Process(
            "etcd",
            [
                self._bin["etcd"],
                f"--data-dir={base}/etcd",
                f"--listen-client-urls={client}",
                "--log-level=warn",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={peer}",
                "--unsafe-no-fsync",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
            ],
            base / "etcd.log",
        )
        flags = self._flags(audit_url)
        self.apiserver = Process("kube-apiserver", [self._bin["kube-apiserver"], *flags], base / "apiserver.log")

    @property
    def ca_file(self) -> Path:
        return self.base / "ca.crt"

    def kubeconfig_for(self, token: str, name: str = "kubeconfig") -> Path:
        """Write a kubeconfig that authenticates with `token`; returns its path."""
        cluster = {"server": self.url, "certificate-authority": str(self.ca_file)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
            "current-context": "test",
        }
        path = self.base / name
        path.write_text(yaml.safe_dump(document), "utf-8")
        path.chmod(0o600)
        return path

    def request(self, method: str, path: str, body: object = None, token: str = "", **headers: str) -> dict[str, Any]:
        """One API call as the admin (or `token`); returns the object. Raises Refused."""
        data = None if body is None else json.dumps(body).encode()
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        sent = {"Authorization": f"Bearer {token or self.admin_token}", "Content-Type": kind} | headers
        request = urllib.request.Request(self.url + path, data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20, context=self._ssl) as reply:
                result: dict[str, Any] = json.load(reply)
                return result
        except urllib.error.HTTPError as error:
            text = error.read()
            raise Refused(error.code, json.loads(text) if text.startswith(b"{") else {"message": str(text)}) from None

    def ready(self) -> bool:
        request = urllib.request.Request(self.url + "/readyz", headers={"Authorization": f"Bearer {self.admin_token}"})
        try:
            with urllib.request.urlopen(request, timeout=2, context=self._ssl) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def restart_apiserver(self, *, hard: bool = False) -> None:
        """Stop the API (`hard`: kill -9), start it again on the same port and wait until it is ready."""
        if hard:
            self.apiserver.kill()
        else:
            self.apiserver.stop()
        self.apiserver.start()
        self.apiserver.wait_until(self.ready, 90)

    def compact(self) -> int:
        """Drop etcd's history up to now: a watch of Events from an older version gets 410. Returns the revision.

        Kinds that the apiserver caches (pods, configmaps, ...) still answer from its cache until it is restarted.
        """
        revision = int(self._etcd("/v3/maintenance/status")["header"]["revision"])
        self._etcd("/v3/kv/compaction", revision=str(revision), physical=True)
        return revision

    def _etcd(self, path: str, **body: object) -> dict[str, Any]:
        request = urllib.request.Request(self.etcd_url + path, json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=20) as reply:
            result: dict[str, Any] = json.load(reply)
            return result

    def _write_keys(self) -> None:
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        authority.cert_pem.write_to_path(self.ca_file)
        names = ("localhost", "127.0.0.1", "10.0.0.1", "kubernetes", "kubernetes.default.svc")
        authority.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(self.base / "apiserver.pem")
        signer = ec.generate_private_key(ec.SECP256R1())
        pem = signer.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        (self.base / "accounts.key").write_bytes(pem)
        tokens = [
            f'{self.admin_token},test-admin,1,"system:masters"',
            f"{self.nobody_token},test-nobody,2",
            f"{self.controller_token},system:kube-controller-manager,3",
        ]
        (self.base / "tokens.csv").write_text("\n".join(tokens) + "\n", "ascii")
        (self.base / "audit.yaml").write_text(AUDIT_POLICY, "ascii")

    def _flags(self, audit_url: str) -> list[str]:
        flags = [
            f"--etcd-servers={self.etcd_url}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=Node,RBAC",
            "--anonymous-auth=false",
            f"--tls-cert-file={self.base}/apiserver.pem",
            f"--tls-private-key-file={self.base}/apiserver.pem",
            f"--token-auth-file={self.base}/tokens.csv",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.base}/accounts.key",
            f"--service-account-signing-key-file={self.base}/accounts.key",
            "--shutdown-delay-duration=0s",
            "--profiling=false",
            f"--audit-policy-file={self.base}/audit.yaml",
            f"--audit-log-path={self.audit_log}",
        ]
        if audit_url:
            hook = {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "sink", "cluster": {"server": audit_url}}],
                "users": [{"name": "apiserver", "user": {}}],
                "contexts": [{"name": "sink", "context": {"cluster": "sink", "user": "apiserver"}}],
                "current-context": "sink",
            }
            (self.base / "audit-webhook.yaml").write_text(yaml.safe_dump(hook), "utf-8")
            flags += [
                f"--audit-webhook-config-file={self.base}/audit-webhook.yaml",
                "--audit-webhook-batch-max-wait=1s",
            ]
        return flags


@contextmanager
def kube(audit_url: str = "") -> Iterator[Kube]:
    """A ready cluster without nodes. Raises Missing when the binaries were not built."""
    with ExitStack() as stack:
        cluster = Kube(stack.enter_context(folder("kube")), audit_url)
        stack.enter_context(running(cluster.etcd, answers(f"{cluster.etcd_url}/health"), 30))
        stack.enter_context(running(cluster.apiserver, cluster.ready, 100))
        yield cluster
