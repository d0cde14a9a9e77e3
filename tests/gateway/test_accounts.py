"""Passwords, lock-outs, sessions and machine tokens, on a real SQLite database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway import tokens
from gateway.accounts import REMEMBER_S, Accounts
from gateway.database import bootstrap
from gateway.principal import Principal
from gateway.sessions import Sessions
from streams.errors import Invalid
from streams.settings import Gateway, Settings

NOW = 1_767_607_200_000


class Clock:
    def __init__(self) -> None:
        self.ms = NOW

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=str(tmp_path), gateway=Gateway(login_attempts=3, login_window_s=60))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def password(settings: Settings) -> str:
    return bootstrap(settings)


@pytest.fixture
async def accounts(settings: Settings, password: str, clock: Clock) -> AsyncIterator[Accounts]:
    out = Accounts(settings, clock)
    await out.start()
    yield out
    await out.close()


def test_the_admins_password_is_told_on_the_first_start_only(settings: Settings) -> None:
    assert len(bootstrap(settings)) >= 20
    assert bootstrap(settings) == ""


async def test_the_right_password_logs_in(accounts: Accounts, password: str) -> None:
    assert (await accounts.login("admin", password, "10.0.0.1")).account is not None
    assert (await accounts.login("admin", password + "x", "10.0.0.1")).account is None
    assert (await accounts.login("nobody", password, "10.0.0.1")).account is None


async def test_wrong_passwords_lock_the_name_for_the_window(accounts: Accounts, password: str, clock: Clock) -> None:
    outcomes = [await accounts.login("admin", "wrong", "10.0.0.1") for _ in range(3)]
    assert [outcome.just_locked for outcome in outcomes] == [False, False, True]
    refused = await accounts.login("admin", password, "10.0.0.2")
    assert refused.account is None
    assert 0 < refused.locked_ms <= 60_000
    assert not refused.just_locked
    clock.ms += 60_001
    assert (await accounts.login("admin", password, "10.0.0.2")).account is not None


async def test_a_name_without_an_account_locks_the_same_way(accounts: Accounts) -> None:
    outcomes = [await accounts.login("ghost", "wrong", "10.0.0.1") for _ in range(4)]
    assert outcomes[2].just_locked
    assert outcomes[3].locked_ms > 0


async def test_guesses_made_at_the_same_time_all_count(accounts: Accounts, password: str) -> None:
    guesses = [accounts.login("admin", f"guess {n}", "10.0.0.1") for n in range(10)]
    outcomes = await asyncio.gather(*guesses)
    assert sum(outcome.just_locked for outcome in outcomes) == 1
    assert (await accounts.login("admin", password, "10.0.0.1")).account is None


async def test_right_logins_at_the_same_time_lock_nobody_out(accounts: Accounts, password: str) -> None:
    outcomes = await asyncio.gather(*(accounts.login("admin", password, "10.0.0.1") for _ in range(8)))
    assert all(outcome.account for outcome in outcomes)


async def test_a_right_password_forgets_the_wrong_ones(accounts: Accounts, password: str) -> None:
    for _ in range(3):
        await accounts.login("admin", "wrong", "10.0.0.1")
        await accounts.login("admin", "wrong", "10.0.0.1")
        assert (await accounts.login("admin", password, "10.0.0.1")).account


async def check(accounts: Accounts, text: str, now_ms: int) -> Principal | None:
    presented = tokens.parse(text)
    assert presented is not None
    return tokens.principal(await accounts.token(presented.id), presented, now_ms)


async def test_a_token_holds_its_scopes_until_it_is_revoked_or_expires(accounts: Accounts, clock: Clock) -> None:
    issued = await accounts.issue(
        name="shipper", scopes=["logs:write"], tenant="platform", created_by="admin", expires_ms=NOW + 5000
    )
    who = await check(accounts, issued.text, NOW)
    assert who is not None
    assert who.may("logs:write")
    assert not who.may("logs:read")
    assert await check(accounts, issued.text, NOW + 5000) is None
    await accounts.revoke(issued.row.id)
    assert await check(accounts, issued.text, NOW) is None


async def test_a_revocation_elsewhere_acts_within_a_second_or_so(
    accounts: Accounts, settings: Settings, clock: Clock
) -> None:
    issued = await accounts.issue(name="x", scopes=["logs:write"], tenant="platform", created_by="admin")
    assert await check(accounts, issued.text, NOW)
    other = Accounts(settings, clock)
    await other.start()
    await other.revoke(issued.row.id)
    await other.close()
    await asyncio.sleep(REMEMBER_S + 0.2)
    assert await check(accounts, issued.text, NOW) is None


def database_files(settings: Settings) -> list[bytes]:
    files = [file.read_bytes() for file in Path(settings.data_dir).glob("eventsphere.db*")]
    assert files
    return files


async def test_a_tokens_secret_is_not_in_the_database(accounts: Accounts, settings: Settings) -> None:
    issued = await accounts.issue(name="x", scopes=["logs:write"], tenant="platform", created_by="admin")
    secret = issued.text.rpartition("_")[2].encode()
    assert not any(secret in content for content in database_files(settings))
    forged = issued.text[:-1] + ("0" if issued.text[-1] != "0" else "1")
    assert await check(accounts, forged, NOW) is None


@pytest.mark.parametrize(
    "scopes", [[], ["logs"], ["nothing:read"], ["topics:rules.matches:read"], ["topics:nope:read"]]
)
async def test_wrong_scopes_are_named(accounts: Accounts, scopes: list[str]) -> None:
    with pytest.raises(Invalid):
        await accounts.issue(name="x", scopes=scopes, tenant="platform", created_by="admin")


async def test_a_session_ends_by_time_and_by_logout(accounts: Accounts) -> None:
    sessions = Sessions("key", hours=1)
    text = sessions.issue("ada", "s1", NOW)
    claims = sessions.read(text, NOW)
    assert claims is not None
    assert (claims.username, claims.session) == ("ada", "s1")
    assert sessions.read(text, NOW + 3_600_000) is None
    assert Sessions("other key", hours=1).read(text, NOW) is None
    assert not await accounts.is_revoked("s1")
    await accounts.end_session("s1", NOW + 3_600_000)
    assert await accounts.is_revoked("s1")


def test_a_csrf_token_is_of_its_session() -> None:
    sessions = Sessions("key", hours=1)
    assert sessions.is_csrf("s1", sessions.csrf("s1"))
    assert not sessions.is_csrf("s1", sessions.csrf("s2"))
    assert not sessions.is_csrf("s1", "")
