"""The forward protocol's handshake by shared key: HELO from us, PING from the sender, PONG from us. Pure.

Both sides prove the key by `sha512(salt + hostname + nonce + shared key)` in hex, with the sender's salt and our nonce.
A user, where one is asked for, is proved by `sha512(our salt + user name + password)`.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

import msgpack

from streams.errors import Invalid

MAX_FIELD_BYTES = 1024


class Secrets(NamedTuple):
    """What a sender has to know. Without a `username` no user is asked for."""

    shared_key: str
    username: str = ""
    password: str = ""


class Greeting(NamedTuple):
    """What is random of one handshake."""

    nonce: bytes
    salt: bytes


def helo(greeting: Greeting, secrets: Secrets) -> bytes:
    """What we greet with; `auth` is the salt for the user's proof, empty when none is asked for."""
    salt = greeting.salt if secrets.username else b""
    return bytes(msgpack.packb(["HELO", {"nonce": greeting.nonce, "auth": salt, "keepalive": True}]))


def answer(frame: bytes, greeting: Greeting, secrets: Secrets, hostname: str) -> tuple[bytes, str]:
    """The PONG to `frame`, and what is wrong with the sender: empty for one who knows the secrets.

    Raises Invalid when `frame` is no PING.
    """
    host, salt, proof, user, user_proof = _ping(frame)
    key = secrets.shared_key.encode()
    wrong = ""
    if not _same(proof, salt, host, greeting.nonce, key):
        wrong = "shared_key mismatch"
    elif secrets.username:
        known = hmac.compare_digest(user, secrets.username.encode())
        proved = _same(user_proof, greeting.salt, user, secrets.password.encode())
        wrong = "" if known and proved else "username/password mismatch"
    if wrong:
        return bytes(msgpack.packb(["PONG", False, wrong, "", ""])), wrong
    ours = hashlib.sha512(salt + hostname.encode() + greeting.nonce + key).hexdigest()
    return bytes(msgpack.packb(["PONG", True, "", hostname, ours])), ""


def _same(proof: bytes, *parts: bytes) -> bool:
    return hmac.compare_digest(hashlib.sha512(b"".join(parts)).hexdigest().encode(), proof.lower())


def _ping(frame: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """Hostname, salt, proof, user and its proof, as bytes: Fluent Bit sends a salt of random bytes as a string."""
    try:
        parts = msgpack.unpackb(frame, raw=True, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise Invalid("bad_handshake", f"{type(error).__name__}: {error}"[:200]) from None
    if not isinstance(parts, list) or len(parts) != 6 or parts[0] != b"PING":
        raise Invalid("bad_handshake", "a shared key is set: the first frame has to be a PING of 6 parts")
    fields = parts[1:]
    if not all(isinstance(field, bytes) and len(field) <= MAX_FIELD_BYTES for field in fields):
        raise Invalid("bad_handshake", f"the parts of a PING are strings of at most {MAX_FIELD_BYTES} bytes")
    host, salt, proof, user, user_proof = fields
    return host, salt, proof, user, user_proof
