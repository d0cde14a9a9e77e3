"""What the routes of Alertmanager's API share: the configuration as it is now, and how they refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Annotated, Any

import msgspec
import structlog
from fastapi import Depends, Query, Request, Response
from fastapi.responses import JSONResponse

from gateway import am_silences
from gateway.services import Services
from schemas.alerting import AlertingConfig
from schemas.alerts import AlertState, Matcher, Silence, Status, Suppressed
from schemas.platform import Control
from streams.alerting import LiveConfig, WrongConfig
from streams.errors import Failure
from streams.matching import parse_matcher
from streams.muting import Inhibitor, active, silenced_by
from streams.record import Outgoing
from streams.views import View

log = structlog.get_logger(__name__)

CONTROL = "platform.control"
SWEEP_S = 600.0
MAX_FILTERS = 32
Filters = Annotated[list[str], Query(alias="filter", max_length=MAX_FILTERS)]


class Suppression:
    """What keeps alerts from being notified at this moment, as API v2 tells it; one look for a whole list."""

    def __init__(
        self, config: AlertingConfig, alerts: Iterable[AlertState], silences: Iterable[Silence], now_ms: int
    ) -> None:
        self.silences = active(silences, now_ms)
        self._inhibitor = Inhibitor(config.inhibit_rules, alerts)

    def of(self, alert: AlertState) -> Suppressed:
        told = alert.suppressed
        inhibited = self._inhibitor.inhibited_by(alert) if alert.state is not Status.RESOLVED else []
        return Suppressed(
            silences=sorted({*told.silences, *silenced_by(alert, self.silences)}),
            inhibited_by=sorted({*told.inhibited_by, *inhibited}),
            muted_by=told.muted_by,
        )


class State:
    """What this module holds: the configuration, kept current by `platform.control`, and when it began."""

    def __init__(self, services: Services) -> None:
        self.live = LiveConfig(services.settings)
        self.started_ms = services.clock()
        self._control: View[Control] = View(services.settings.kafka, CONTROL, msgspec.json.Decoder(Control).decode)
        self._services = services
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Follow what is said to the workers, and take away silences that ended long ago."""
        self._control.on_change(lambda _key, message: self._spawn(self._reload(message)))
        self._spawn(self._control.start())
        while True:
            await asyncio.sleep(SWEEP_S)
            silences = self._services.views.silences
            old = am_silences.forgettable(silences.values(), self._services.clock())
            with suppress(Failure):
                await self._services.producer.send([Outgoing("silences", None, each.encode()) for each in old])

    def suppression(self) -> Suppression:
        views = self._services.views
        now_ms = self._services.clock()
        return Suppression(self.live.current, views.alerts.values(), views.silences.values(), now_ms)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._control.close()

    async def _reload(self, message: Control | None) -> None:
        try:
            if message is not None:
                await self.live.on_control(message)
        except WrongConfig as error:
            log.error("alerting.not_reloaded", reason=str(error))

    def _spawn(self, coroutine: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _state(request: Request) -> State:
    state: State = request.app.state.alerting
    return state


Alerting = Annotated[State, Depends(_state)]


def refuse(status: int, text: str) -> Response:
    """How Alertmanager says no: a JSON text."""
    return JSONResponse(text, status)


def matchers_of(filters: Sequence[str]) -> tuple[Matcher, ...]:
    """Raises ValueError."""
    return tuple(parse_matcher(text) for text in filters)
