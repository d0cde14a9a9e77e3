"""moto's server as an S3-compatible store that checks signatures with AWS's own code; in an environment of its own,
since its dependencies and ours exclude each other."""

from __future__ import annotations

import json
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.parts.cache import cache_dir, lock
from tests.parts.process import Missing, Process, answers, folder, free_port, run, running

PACKAGE = "moto[s3,server]==5.2.5"
BUCKET = "logs"


class S3(NamedTuple):
    url: str
    access_key: str
    secret_key: str


def fetch() -> Path:
    """The server's program. Raises Missing."""
    home = cache_dir() / PACKAGE.replace("[s3,server]==", "-")
    with lock(home.name):
        server = home / "bin" / "moto_server"
        if not server.exists():
            shutil.rmtree(home, ignore_errors=True)
            uv = Path(sys.executable).with_name("uv")
            try:
                run([uv, "venv", "--quiet", "--python", sys.executable, home], timeout_s=120)
                run([uv, "pip", "install", "--quiet", "--python", home / "bin" / "python", PACKAGE], timeout_s=600)
            except (RuntimeError, OSError) as error:
                raise Missing(f"{PACKAGE} could not be installed: {error}") from error
        return server


@contextmanager
def s3() -> Iterator[S3]:
    """A store with an empty bucket `logs`, where one user may do everything and nobody else anything."""
    server, port = fetch(), free_port()
    url = f"http://127.0.0.1:{port}"
    with folder("s3", None) as base:
        command: list[str | Path] = [server, "-H", "127.0.0.1", "-p", str(port)]
        process = Process("s3", command, base / "out.log", env={"HOME": str(base)})
        with running(process, answers(f"{url}/moto-api/data.json"), 60):
            _ask("PUT", f"{url}/{BUCKET}")
            store = S3(url, *_user(url))
            _ask("POST", f"{url}/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})
            yield store


def _user(url: str) -> tuple[str, str]:
    """A user that may do everything: its keys."""
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    _iam(url, Action="CreateUser", UserName="archive")
    _iam(url, Action="PutUserPolicy", UserName="archive", PolicyName="all", PolicyDocument=json.dumps(policy))
    made = _iam(url, Action="CreateAccessKey", UserName="archive")
    return _between(made, "AccessKeyId"), _between(made, "SecretAccessKey")


def _iam(url: str, **params: str) -> str:
    from urllib.parse import urlencode

    proof = {"Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/iam/aws4_request"}
    body = urlencode({"Version": "2010-05-08", **params}).encode()
    return _ask("POST", url, body, proof)


def _between(text: str, tag: str) -> str:
    return text.split(f"<{tag}>")[1].split(f"</{tag}>", maxsplit=1)[0]


def _ask(method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None) -> str:
    request = urllib.request.Request(url, data=body or None, method=method, headers=headers or {})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())
