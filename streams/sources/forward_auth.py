"""The forward protocol's handshake by shared key: HELO from us, PING from the sender, PONG from us. Pure.

Both sides prove the key by `sha512(salt + hostname + nonce + shared key)` in hex, with the sender's salt and our nonce.
"""

from __future__ import annotations

import hashlib
import hmac

import msgpack

from streams.errors import Invalid

MAX_FIELD_BYTES = 1024


def helo(nonce: bytes) -> bytes:
    """What we greet with; `auth` is empty: there are no users, only the key."""
    return bytes(msgpack.packb(["HELO", {"nonce": nonce, "auth": b"", "keepalive": True}]))


def answer(frame: bytes, nonce: bytes, shared_key: str, hostname: str) -> tuple[bytes, bool]:
    """The PONG to `frame`, and whether the sender knows the key. Raises Invalid when `frame` is no PING."""
    host, salt, proof = _ping(frame)
    key = shared_key.encode()
    expected = hashlib.sha512(salt + host + nonce + key).hexdigest().encode()
    if not hmac.compare_digest(expected, proof.lower()):
        return bytes(msgpack.packb(["PONG", False, "shared_key mismatch", "", ""])), False
    ours = hashlib.sha512(salt + hostname.encode() + nonce + key).hexdigest()
    return bytes(msgpack.packb(["PONG", True, "", hostname, ours])), True


def _ping(frame: bytes) -> tuple[bytes, bytes, bytes]:
    """Hostname, salt and proof as bytes: Fluent Bit sends a salt of random bytes as a string."""
    try:
        parts = msgpack.unpackb(frame, raw=True, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise Invalid("bad_handshake", f"{type(error).__name__}: {error}"[:200]) from None
    if not isinstance(parts, list) or len(parts) != 6 or parts[0] != b"PING":
        raise Invalid("bad_handshake", "a shared key is set: the first frame has to be a PING of 6 parts")
    fields = parts[1:4]
    if not all(isinstance(field, bytes) and len(field) <= MAX_FIELD_BYTES for field in fields):
        raise Invalid("bad_handshake", f"hostname, salt and proof are strings of at most {MAX_FIELD_BYTES} bytes")
    host, salt, proof = fields
    return host, salt, proof
