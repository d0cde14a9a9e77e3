"""AWS Signature Version 4, as S3-compatible stores verify it. Pure.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"


def query_text(params: Mapping[str, str]) -> str:
    """The query string, in the order and escaping that is signed."""
    return "&".join(f"{quote(name, safe='-_.~')}={quote(params[name], safe='-_.~')}" for name in sorted(params))


def path_text(path: str) -> str:
    return quote(path, safe="/-_.~")


def signed(
    method: str,
    host: str,
    path: str,
    params: Mapping[str, str],
    headers: Mapping[str, str],
    payload: bytes,
    *,
    access_key: str,
    secret_key: str,
    region: str,
    now: datetime,
) -> dict[str, str]:
    """The headers of the request, `headers` and those that prove who sends it. `path` unescaped, `now` in UTC."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(payload).hexdigest()
    all_headers = {name.lower(): value for name, value in headers.items()}
    all_headers |= {"host": host, "x-amz-date": stamp, "x-amz-content-sha256": digest}
    names = ";".join(sorted(all_headers))
    lines = [f"{name}:{' '.join(all_headers[name].split())}\n" for name in sorted(all_headers)]
    request = "\n".join([method, path_text(path), query_text(params), "".join(lines), names, digest])
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    text = "\n".join([ALGORITHM, stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{secret_key}".encode()
    for part in (stamp[:8], region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    proof = f"{ALGORITHM} Credential={access_key}/{scope},SignedHeaders={names},Signature={signature}"
    return all_headers | {"authorization": proof}
