"""Mails over SMTP: real Postfix with STARTTLS, and a server that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from email.message import EmailMessage
from pathlib import Path

import pytest
import trustme
from aiosmtpd.controller import Controller

from streams.errors import Failure, Invalid, Retryable
from streams.sinks.channel import Away
from streams.sinks.smtp import Mailer, Server, parse_url
from tests.parts.postfix import Postfix
from tests.parts.process import free_port
from tests.parts.running import until
from tests.parts.session import missing
from tests.parts.smtpd import Smtpd


def mail(number: int, text: str = "Zahlung gestört, 支付失败\n.\n..dots\n") -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = f"Störung {number}"
    message["From"] = "Eventsphere <es@example.org>"
    message["To"] = "ops@example.org"
    message["Message-ID"] = f"<{number}@eventsphere>"
    message.set_content(text, cte="quoted-printable")
    return message


def server(smtp: Smtpd) -> Server:
    return parse_url(f"smtp://127.0.0.1:{smtp.port}?from=es@example.org")


async def refusal(mailer: Mailer, recipient: str = "ops@example.org") -> Failure | None:
    try:
        await mailer.send(mail(1), recipient)
    except Failure as failure:
        return failure
    return None


async def test_postfix_takes_mails_over_one_tls_connection(real_postfix: Postfix) -> None:
    url = f"smtp+starttls://localhost:{real_postfix.port}?from=es@example.org&ca_file={real_postfix.ca_file}"
    mailer = Mailer(parse_url(url))
    for number in range(5):
        await mailer.send(mail(number), "ops@example.org")
    for recipient, code in (("gone@example.org", "smtp_550"), ("busy@example.org", "smtp_450")):
        failure = await refusal(mailer, recipient)
        assert failure is not None
        assert failure.reason == code
        assert isinstance(failure, Invalid) == (code == "smtp_550")
    await mailer.send(mail(5), "ops@example.org")
    await mailer.close()
    await until(lambda: len(real_postfix.mails()) >= 6, "six mails")
    delivered = real_postfix.mails()
    assert sorted(str(each["Message-ID"]) for each in delivered) == [f"<{n}@eventsphere>" for n in range(6)]
    body = delivered[0].get_body(("plain",))
    assert body is not None
    assert body.get_content() == "Zahlung gestört, 支付失败\n.\n..dots\n"
    assert "ESMTPS" in str(delivered[0]["Received"])


async def test_postfix_takes_who_logs_in_and_nobody_else(real_postfix: Postfix) -> None:
    if not real_postfix.login:
        missing("postfix login", "saslpasswd2 is not installed (Debian package sasl2-bin)")
    where = f"localhost:{real_postfix.port}?from=es@example.org&ca_file={real_postfix.ca_file}"
    right = Mailer(parse_url(f"smtp+starttls://user%40example.org:secret@{where}"))
    message = mail(77)
    await right.send(message, "auth@example.org")
    await right.close()
    wrong = await refusal(Mailer(parse_url(f"smtp+starttls://user%40example.org:wrong@{where}")))
    assert isinstance(wrong, Away)
    assert wrong.reason == "smtp_535"
    await until(lambda: any("<77@" in str(each["Message-ID"]) for each in real_postfix.mails()), "the mail")
    (arrived,) = (each for each in real_postfix.mails() if "<77@" in str(each["Message-ID"]))
    assert "with ESMTPSA" in str(arrived["Received"])


@asynccontextmanager
async def tarpit(first: bytes = b"", pause_s: float = 60.0) -> AsyncIterator[int]:
    """A server that says `first`, a byte every `pause_s`, and then nothing."""
    conversations: set[asyncio.Task[None]] = set()

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations.add(asyncio.current_task())  # type: ignore[arg-type]
        with suppress(ConnectionError):
            for byte in first:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(pause_s)
            await asyncio.sleep(3600)

    listening = await asyncio.start_server(drip, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for each in conversations:
            each.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)


@pytest.mark.parametrize(("first", "pause_s"), [(b"", 60.0), (b"220 a long greeting", 0.2)])
async def test_a_tarpit_is_away_before_long(first: bytes, pause_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.sinks.smtp.CONNECT_S", 0.5)
    async with tarpit(first, pause_s) as port:
        began = asyncio.get_running_loop().time()
        failure = await refusal(Mailer(parse_url(f"smtp://127.0.0.1:{port}?from=es@example.org")))
        assert asyncio.get_running_loop().time() - began < 10
    assert isinstance(failure, Away)
    assert failure.reason == "smtp_timeout"


async def test_postfix_with_a_certificate_we_do_not_trust_gets_nothing(real_postfix: Postfix) -> None:
    mailer = Mailer(parse_url(f"smtp+starttls://localhost:{real_postfix.port}?from=es@example.org"))
    before = len(real_postfix.mails())
    failure = await refusal(mailer)
    assert isinstance(failure, Away)
    assert len(real_postfix.mails()) == before


async def test_without_starttls_a_server_that_wants_it_is_an_operators_matter(real_postfix: Postfix) -> None:
    failure = await refusal(Mailer(parse_url(f"smtp://localhost:{real_postfix.port}?from=es@example.org")))
    assert isinstance(failure, Away)
    assert failure.reason == "smtp_530"


@pytest.mark.parametrize(
    ("reply", "kind", "reason"),
    [
        ("550 5.1.1 no such user", Invalid, "smtp_550"),
        ("451 4.3.0 try later", Retryable, "smtp_451"),
        ("452 4.2.2 full", Retryable, "smtp_452"),
        ("421 4.3.2 shutting down", Away, "smtp_421"),
        ("530 5.7.0 login first", Away, "smtp_530"),
    ],
)
async def test_replies_are_classed(smtp: Smtpd, reply: str, kind: type[Failure], reason: str) -> None:
    smtp.replies["ops@example.org"] = reply
    mailer = Mailer(server(smtp))
    failure = await refusal(mailer)
    assert type(failure) is kind
    assert failure.reason == reason
    smtp.replies.clear()
    assert await refusal(mailer) is None
    await mailer.close()


async def test_a_message_refused_after_data_is_classed_too(smtp: Smtpd) -> None:
    smtp.on_data = "554 5.7.1 spam"
    mailer = Mailer(server(smtp))
    assert (await refusal(mailer)) is not None
    smtp.on_data = ""
    assert await refusal(mailer) is None
    assert smtp.connections == 1
    await mailer.close()


async def test_a_server_that_closed_the_idle_connection_is_connected_anew(smtp: Smtpd) -> None:
    mailer = Mailer(server(smtp))
    assert await refusal(mailer) is None
    smtp.stop()
    smtp.start()
    assert await refusal(mailer) is None
    assert len(smtp.received) == 2
    await mailer.close()


async def test_nobody_listening_is_away() -> None:
    failure = await refusal(Mailer(parse_url(f"smtp://127.0.0.1:{free_port()}?from=es@example.org")))
    assert isinstance(failure, Away)


async def test_a_server_that_never_answers_is_away(smtp: Smtpd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.sinks.smtp.COMMAND_S", 0.5)
    smtp.delay_s = 5
    failure = await refusal(Mailer(server(smtp)))
    assert isinstance(failure, Away)
    assert failure.reason == "smtp_timeout"


class Login:
    """Takes one user and password, over TLS only."""

    def __init__(self) -> None:
        self.mails = 0

    async def handle_DATA(self, *_: object) -> str:
        self.mails += 1
        return "250 OK"


@pytest.mark.parametrize("scheme", ["smtps", "smtp+starttls"])
async def test_login_over_tls(scheme: str, tmp_path: Path) -> None:
    from aiosmtpd.smtp import AuthResult, LoginPassword

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)

    def check(*arguments: object) -> AuthResult:
        given = arguments[-1]
        sound = isinstance(given, LoginPassword) and (given.login, given.password) == (b"u@x", b"p:/w")
        return AuthResult(success=sound, handled=False)

    handler = Login()
    wrapped = scheme == "smtps"
    controller = Controller(
        handler,
        hostname="localhost",
        port=free_port(),
        ssl_context=context if wrapped else None,
        server_kwargs={
            "authenticator": check,
            "auth_required": True,
            "auth_require_tls": not wrapped,
            "tls_context": None if wrapped else context,
        },
    )
    controller.start()
    try:
        where = f"localhost:{controller.port}?from=es@example.org&ca_file={tmp_path}/ca.pem"
        right = Mailer(parse_url(f"{scheme}://u%40x:p%3A%2Fw@{where}"))
        assert await refusal(right) is None
        await right.close()
        failure = await refusal(Mailer(parse_url(f"{scheme}://u%40x:wrong@{where}")))
        assert isinstance(failure, Away)
        assert failure.reason == "smtp_535"
        assert handler.mails == 1
    finally:
        controller.stop()


WRONG = ["http://x", "smtp://", "smtp://h:99999", "smtp://u:secret@h:x", "smtp://u:secret@h?tls=1"]
WRONG += ["smtp://h?from=nonsense"]


@pytest.mark.parametrize("url", WRONG)
def test_wrong_urls_are_refused_without_their_secrets(url: str) -> None:
    with pytest.raises(ValueError, match=r"smtp\.url") as error:
        parse_url(url)
    assert "secret" not in str(error.value)


def test_urls() -> None:
    assert parse_url("smtp://h").port == 25
    assert parse_url("smtps://h").port == 465
    found = parse_url("smtp+starttls://a%40b:p%2Fw@mail.example.org?from=Ops%20%3Cops%40example.org%3E")
    assert (found.username, found.password, found.port) == ("a@b", "p/w", 587)
    assert (found.sender, found.envelope_sender) == ("Ops <ops@example.org>", "ops@example.org")
    assert "p/w" not in repr(found)
    assert parse_url("smtp://h?from=ops+alerts@example.org").envelope_sender == "ops+alerts@example.org"
