"""The local mailbox over real SMTP: what is acknowledged is stored, repeats are one mail, limits hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib

from gateway.mail_store import MailStore
from gateway.mailbox import Handler, open_store, serve
from streams.settings import Mailbox, Settings
from tests.parts.process import free_port

TIME_MS = 1_767_607_200_000


def mail(number: int, subject: str = "Hello") -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = "Eventsphere <es@example.org>"
    message["To"] = "ops@example.org"
    message["Message-ID"] = f"<{number}@eventsphere>"
    message["Date"] = "Mon, 05 Jan 2026 10:00:06 +0000"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(f"text {number}\n")
    message.add_alternative(f"<p>html {number}</p>", subtype="html")
    return message


@asynccontextmanager
async def mailbox(folder: Path, **limits: int) -> AsyncIterator[tuple[MailStore, int]]:
    port = free_port()
    settings = Settings(data_dir=str(folder), mailbox=Mailbox(port=port, **limits))
    store = open_store(settings)
    task = asyncio.create_task(serve(settings, Handler(store, lambda: TIME_MS)))
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            except OSError:
                await asyncio.sleep(0.02)
    try:
        yield store, port
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        store.close()


async def send(port: int, message: EmailMessage, *recipients: str) -> None:
    await aiosmtplib.send(message, hostname="127.0.0.1", port=port, start_tls=False, recipients=recipients or None)


async def test_a_mail_is_listed_with_text_html_and_headers(tmp_path: Path) -> None:
    async with mailbox(tmp_path) as (store, port):
        await send(port, mail(1, "支付 is down"))
        items, total, after = store.page("", 10, 0)
    assert (total, after) == (1, 0)
    (item,) = items
    assert item["subject"] == "支付 is down"
    assert item["from"] == "Eventsphere <es@example.org>"
    assert item["to"] == "ops@example.org"
    assert item["message_id"] == "<1@eventsphere>"
    assert item["date"] == "2026-01-05T10:00:06.000Z"
    assert item["text"] == "text 1\n"
    assert item["html"] == "<p>html 1</p>\n"
    assert item["headers"] == {"Auto-Submitted": "auto-generated"}


async def test_a_repeat_is_one_mail_and_counted(tmp_path: Path) -> None:
    async with mailbox(tmp_path) as (store, port):
        for _ in range(3):
            await send(port, mail(1))
        await send(port, mail(2), "a@example.org", "b@example.org")
        items, total, _ = store.page("", 10, 0)
    assert total == 3
    assert sorted((item["to"], item["copies"]) for item in items) == [
        ("a@example.org", 1),
        ("b@example.org", 1),
        ("ops@example.org", 3),
    ]


async def test_what_was_acknowledged_survives_a_restart(tmp_path: Path) -> None:
    async with mailbox(tmp_path) as (_, port):
        await send(port, mail(1))
    async with mailbox(tmp_path) as (store, _):
        assert store.page("", 10, 0)[1] == 1


async def test_the_oldest_are_forgotten_beyond_the_limit(tmp_path: Path) -> None:
    async with mailbox(tmp_path, max_messages=3) as (store, port):
        for number in range(5):
            await send(port, mail(number))
        items, total, _ = store.page("", 10, 0)
    assert total == 3
    assert [item["message_id"] for item in items] == ["<4@eventsphere>", "<3@eventsphere>", "<2@eventsphere>"]


async def test_pages_and_search(tmp_path: Path) -> None:
    async with mailbox(tmp_path) as (store, port):
        for number in range(5):
            await send(port, mail(number, f"100% of {number}"))
        first, total, after = store.page("", 2, 0)
        second, _, _ = store.page("", 2, after)
        old, _, _ = store.page("", 2, 0, oldest_first=True)
        found, count, _ = store.page("100% OF 3", 10, 0)
        none = store.page("100_ of", 10, 0)
    assert total == 5
    assert [item["subject"][-1] for item in [*first, *second]] == ["4", "3", "2", "1"]
    assert [item["subject"][-1] for item in old] == ["0", "1"]
    assert (count, found[0]["subject"]) == (1, "100% of 3")
    assert none == ([], 0, 0)


async def test_bytes_that_are_no_mail_are_kept_and_shown(tmp_path: Path) -> None:
    async with mailbox(tmp_path) as (store, port):
        smtp = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False)
        await smtp.connect()
        await smtp.sendmail(
            "", ["ops@example.org"], b"Subject: =?utf-8?q?=ff?=\r\nDate: x\r\n\r\n\xff\xfe no charset\r\n"
        )
        await smtp.quit()
        items, total, _ = store.page("", 10, 0)
        assert store.get(items[0]["id"]) is not None
    assert total == 1
    assert items[0]["date"] == "2026-01-05T10:00:00.000Z"


async def test_a_mail_over_the_limit_is_refused(tmp_path: Path) -> None:
    async with mailbox(tmp_path) as (store, port):
        big = EmailMessage()
        big["From"], big["To"] = "es@example.org", "ops@example.org"
        big.set_content("x" * (9 << 20))
        try:
            await send(port, big)
        except aiosmtplib.SMTPException:
            pass
        else:
            raise AssertionError("taken")
        assert store.page("", 10, 0)[1] == 0
