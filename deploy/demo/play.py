"""Plays the scenario against a running instance and counts: records sent and indexed, mails firing and resolved."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.demo.api import Api
from deploy.demo.forward import ForwardSender
from deploy.demo.scenario import Scenario

T = TypeVar("T")
CHUNK = 50
WAIT_S = 180.0
POLL_S = 0.5


class NotArrived(Exception):
    """Something did not arrive in time; the text says what and what was there instead."""


class Result(msgspec.Struct, frozen=True):
    sent: int
    indexed: int
    firing_mails: int
    resolved_mails: int

    def __str__(self) -> str:
        return f"sent {self.sent} = indexed {self.indexed}, mails {self.firing_mails}+{self.resolved_mails}"

    @property
    def adds_up(self) -> bool:
        return self.sent == self.indexed and (self.firing_mails, self.resolved_mails) == (1, 1)


class Play:
    """`sleep` and `now_ms` come from outside; `pace_s` is the pause between chunks of logs."""

    def __init__(
        self,
        api: Api,
        forward: ForwardSender,
        scenario: Scenario,
        console: Console,
        *,
        now_ms: Callable[[], int],
        sleep: Callable[[float], None] = time.sleep,
        pace_s: float = 0.0,
    ) -> None:
        self._api = api
        self._forward = forward
        self._scenario = scenario
        self._console = console
        self._now_ms = now_ms
        self._sleep = sleep
        self._pace_s = pace_s

    def run(self) -> Result:
        """Raises NotArrived, Refused or NotAcknowledged."""
        scenario, say = self._scenario, self._console.print
        say(f"[bold]DEMO[/] a bad rollout in namespace [cyan]{scenario.namespace}[/]; nothing real is touched")
        for record in scenario.objects():
            self._api.publish("kube.objects", record, type_=f"io.eventsphere.kube.object.{record['change']}")
        say("  rollout      Deployment checkout 1.4.2 -> 1.5.0")
        self._send_logs()
        for record in scenario.events():
            self._api.publish("kube.events", record, type_="io.eventsphere.kube.event")
        say("  events       Unhealthy, BackOff")
        indexed = self._until("all log records indexed", self._indexed, lambda count: count >= scenario.lines)
        say(f"  indexed      {indexed} log records")
        self._api.post("/api/v2/alerts", [scenario.alert()])
        say("  alert        KubePodCrashLooping, as Prometheus sends it")
        mail = self._until("the mail about the alert", lambda: self._mails("FIRING"), bool)[0]
        say(f"  one mail     {mail['subject']}")
        say(f"               {self._api.url}/mailbox/{mail['id']}")
        self._api.post("/api/v2/alerts", [scenario.alert(ends_ms=self._now_ms())])
        say("  resolved     the rollout is taken back; waiting for the mail that says so")
        mail = self._until("the mail about its end", lambda: self._mails("RESOLVED"), bool)[0]
        say(f"  one more     {mail['subject']}")
        return self._count()

    def _send_logs(self) -> None:
        scenario = self._scenario
        columns = (TextColumn("  logs        "), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as bar:
            task = bar.add_task("logs", total=scenario.lines)
            for start in range(0, scenario.lines, CHUNK):
                numbers = range(start, min(start + CHUNK, scenario.lines))
                at = scenario.began_ms + 1000
                self._forward.send(f"{scenario.token}-{start}", [(at + n, scenario.log(n)) for n in numbers])
                bar.advance(task, len(numbers))
                self._sleep(self._pace_s)

    def _count(self) -> Result:
        return Result(
            self._scenario.lines, self._indexed(), _distinct(self._mails("FIRING")), _distinct(self._mails("RESOLVED"))
        )

    def _indexed(self) -> int:
        return int(self._api.get("/api/v1/logs", namespace=self._scenario.namespace, limit=1)["total"])

    def _mails(self, state: str) -> list[dict[str, Any]]:
        items = self._api.get("/api/v1/mailbox", limit=200)["items"]
        return [
            item for item in items if self._scenario.namespace in item["subject"] and state in item["subject"].upper()
        ]

    def _until(self, what: str, ask: Callable[[], T], enough: Callable[[T], bool]) -> T:
        deadline = time.monotonic() + WAIT_S
        while not enough(found := ask()):
            if time.monotonic() > deadline:
                raise NotArrived(f"{what}: not there after {WAIT_S:.0f} s (now: {found!r})")
            self._sleep(POLL_S)
        return found


def _distinct(mails: list[dict[str, Any]]) -> int:
    """Mails by Message-ID: one that a crash made go out twice is one."""
    return len({mail["message_id"] for mail in mails})
