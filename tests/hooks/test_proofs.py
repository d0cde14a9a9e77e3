"""Signatures and payloads of webhooks: pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import pushes, signatures
from schemas.cicd import CicdEvent

NOW_S = 1_767_607_200
ORIGIN = pushes.Origin(kind="github", hook="main", tenant="platform", delivery="d1", now_ms=NOW_S * 1000)


def github_header(body: bytes, secret: str) -> dict[str, str]:
    return {"x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


def standard_headers(body: bytes, key: bytes, at_s: int = NOW_S) -> dict[str, str]:
    signed = b"msg_1." + str(at_s).encode() + b"." + body
    mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {"webhook-id": "msg_1", "webhook-timestamp": str(at_s), "webhook-signature": f"v1,AAAA v1,{mac}"}


def test_githubs_own_example() -> None:
    """docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation"""
    header = {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
    assert signatures.github(header, b"Hello, World!", "It's a Secret to Everybody") == ""
    assert signatures.github(header, b"Hello, World", "It's a Secret to Everybody")


def test_standard_webhooks_own_example() -> None:
    """github.com/standard-webhooks/standard-webhooks, the vector its libraries share."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    body = b'{"test": 2432232314}'
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert signatures.standard(headers, body, secret, 1614265330) == ""
    assert signatures.standard(headers, body, secret, 1614265330 + 301)
    assert signatures.standard(headers, body, secret, 1614265330 - 301)
    assert signatures.standard(headers, body + b" ", secret, 1614265330)


@pytest.mark.parametrize("secret", ["plain", "whsec_" + base64.b64encode(b"key of 24 bytes or more..").decode()])
def test_gitlab_by_signature(secret: str) -> None:
    headers = standard_headers(b"{}", signatures.signing_key(secret))
    assert signatures.gitlab(headers, b"{}", secret, NOW_S) == ""
    assert signatures.gitlab(headers, b"{}", secret + "x", NOW_S)
    for name in headers:
        assert signatures.gitlab({k: v for k, v in headers.items() if k != name}, b"{}", "whsec_AAAA", NOW_S)


def test_gitlab_by_token() -> None:
    assert signatures.gitlab({"x-gitlab-token": "s"}, b"{}", "s", NOW_S) == ""
    assert signatures.gitlab({"x-gitlab-token": "t"}, b"{}", "s", NOW_S)
    assert signatures.gitlab({}, b"{}", "s", NOW_S)
    # Where a signing key is set, the token alone proves nothing.
    assert signatures.gitlab({"x-gitlab-token": "whsec_AAAA"}, b"{}", "whsec_AAAA", NOW_S)


@given(st.binary(max_size=50), st.text(max_size=40), st.text(max_size=20))
def test_nothing_forged_holds_and_nothing_crashes(body: bytes, given_: str, stamp: str) -> None:
    assert signatures.github({"x-hub-signature-256": given_}, body, "secret")
    headers = {"webhook-id": "1", "webhook-timestamp": stamp, "webhook-signature": given_, "x-gitlab-token": given_}
    assert signatures.gitlab(headers, body, "another secret", NOW_S)


GITHUB: dict[str, Any] = {
    "ref": "refs/heads/main",
    "before": "a" * 40,
    "after": "b" * 40,
    "deleted": False,
    "compare": "https://github.com/shop/pay/compare/aaaa...bbbb",
    "repository": {"full_name": "shop/pay", "pushed_at": NOW_S - 5, "id": 1},
    "pusher": {"name": "mara"},
    "head_commit": {"id": "b" * 40, "message": "Fix timeout", "timestamp": "2026-01-05T11:00:00+01:00"},
    "commits": [
        {"id": "1" * 40, "message": "one", "added": ["src/new.py"], "modified": ["src/pay.py"], "removed": []},
        {"id": "b" * 40, "message": "Fix timeout", "added": [], "modified": ["src/pay.py"], "removed": ["old.py"]},
    ],
}
GITLAB: dict[str, Any] = {
    "object_kind": "push",
    "ref": "refs/heads/main",
    "before": "a" * 40,
    "after": "b" * 40,
    "user_username": "mara",
    "project": {"path_with_namespace": "shop/pay", "id": 1},
    "commits": [{"id": "b" * 40, "message": "Fix", "added": [], "modified": ["src/pay.py"], "removed": []}],
    "total_commits_count": 1,
}


def github(**changes: Any) -> CicdEvent | str:
    return pushes.github(json.dumps(GITHUB | changes).encode(), "push", ORIGIN)


def gitlab(**changes: Any) -> CicdEvent | str:
    return pushes.gitlab(json.dumps(GITLAB | changes).encode(), "Push Hook", ORIGIN)


def test_a_push_of_github() -> None:
    event = github()
    assert isinstance(event, CicdEvent)
    assert (event.type, event.repository, event.branch, event.commit) == ("change.merged", "shop/pay", "main", "b" * 40)
    assert event.paths == ["old.py", "src/new.py", "src/pay.py"]
    assert (event.author, event.message, event.time_ms) == ("mara", "Fix timeout", (NOW_S - 5) * 1000)
    assert event.data["paths_complete"] is True
    assert event.subject_id == "shop/pay@main"
    assert event.id == ORIGIN.event_id


def test_a_push_of_gitlab() -> None:
    event = gitlab()
    assert isinstance(event, CicdEvent)
    assert (event.repository, event.branch, event.paths) == ("shop/pay", "main", ["src/pay.py"])
    assert (event.author, event.message, event.time_ms) == ("mara", "Fix", NOW_S * 1000)
    assert event.data["paths_complete"] is True


def test_paths_that_are_not_all_there_are_said_to_be() -> None:
    for event in (gitlab(total_commits_count=21), gitlab(commits=[]), github(commits=[])):
        assert isinstance(event, CicdEvent)
        assert event.data["paths_complete"] is False
    many = github(commits=[{"added": [f"p{n}" for n in range(6000)]}])
    assert isinstance(many, CicdEvent)
    assert (len(many.paths), many.data["paths_complete"]) == (5000, False)


def test_the_same_delivery_is_the_same_event() -> None:
    first, again = github(), github()
    assert isinstance(first, CicdEvent)
    assert isinstance(again, CicdEvent)
    assert first.id == again.id


def test_what_is_ignored_says_why() -> None:
    assert github(ref="refs/tags/v1") == "'refs/tags/v1' is not a branch"
    assert github(deleted=True) == "the branch was deleted"
    assert gitlab(after="0" * 40) == "the branch was deleted"
    assert pushes.github(b"{}", "ping", ORIGIN) == "event 'ping' is not used"
    assert pushes.gitlab(b"not json", "Tag Push Hook", ORIGIN) == "event 'Tag Push Hook' is not used"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"ref": 1}', b"\xff", b"[" * 100_000, b'{"ref": "refs/heads/x"}']
)
def test_malformed_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="not a push"):
        pushes.github(body, "push", ORIGIN)
    with pytest.raises(ValueError, match="not a push"):
        pushes.gitlab(body, "Push Hook", ORIGIN)
