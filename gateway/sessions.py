"""Sessions of people: a signed JSON Web Token (HS256), as bearer or in the console's cookie, and its CSRF token."""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

import jwt

ISSUER = "eventsphere"
ALGORITHM = "HS256"
COOKIE = "eventsphere_session"
MAX_LENGTH = 2048


class Claims(NamedTuple):
    username: str
    session: str
    expires_s: int


class Sessions:
    """Issues and reads them with `key`; whether one was revoked is the database's to say."""

    def __init__(self, key: str, hours: int) -> None:
        self._key = key
        self.lifetime_s = hours * 3600

    def issue(self, username: str, session: str, now_ms: int) -> str:
        now = now_ms // 1000
        claims = {"iss": ISSUER, "sub": username, "sid": session, "iat": now, "exp": now + self.lifetime_s}
        return jwt.encode(claims, self._purpose("session"), ALGORITHM)

    def read(self, text: str, now_ms: int) -> Claims | None:
        """Claims of a session that is ours and not expired."""
        if len(text) > MAX_LENGTH:
            return None
        try:
            claims = jwt.decode(
                text,
                self._purpose("session"),
                [ALGORITHM],
                issuer=ISSUER,
                options={"require": ["sub", "sid", "exp", "iss"], "verify_exp": False, "verify_iat": False},
            )
        except jwt.InvalidTokenError:
            return None
        if claims["exp"] * 1000 <= now_ms:
            return None
        return Claims(claims["sub"], str(claims["sid"]), claims["exp"])

    def csrf(self, session: str) -> str:
        """What a page of the session sends with each change: other sites can make the cookie go, but not know this."""
        return self.sign("csrf", session.encode())

    def is_csrf(self, session: str, offered: str) -> bool:
        return hmac.compare_digest(self.csrf(session).encode(), offered.encode("utf-8", "replace"))

    def sign(self, purpose: str, data: bytes) -> str:
        """An authentication code of `data`, 32 hex digits, good for `purpose` alone."""
        return hmac.new(self._purpose(purpose), data, hashlib.sha256).hexdigest()[:32]

    def _purpose(self, name: str) -> bytes:
        return hmac.new(self._key.encode(), name.encode(), hashlib.sha256).digest()
