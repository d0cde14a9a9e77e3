"""Passwords of accounts: argon2id by pwdlib, and the same time spent whether the account exists or not."""

from __future__ import annotations

import secrets
from functools import cache

from pwdlib import PasswordHash

MAX_LENGTH = 1024


@cache
def _hasher() -> PasswordHash:
    return PasswordHash.recommended()


@cache
def _decoy() -> str:
    """The hash an unknown account's password is checked against: of a password nobody knows."""
    return _hasher().hash(secrets.token_urlsafe(32))


def hashed(password: str) -> str:
    return _hasher().hash(password)


def is_right(password: str, password_hash: str | None) -> bool:
    """Whether `password` is the one hashed; takes its time (some 50 ms and 64 MiB) also for an absent account."""
    if len(password) > MAX_LENGTH:
        return False
    right = _hasher().verify(password, password_hash or _decoy())
    return right and password_hash is not None
