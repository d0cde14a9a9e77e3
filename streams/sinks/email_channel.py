"""Channel `email`: each address of the receiver is a delivery of its own, a mail of its own, one SMTP transaction."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from schemas.alerting import EmailConfig, Receiver
from streams.errors import Invalid
from streams.sinks.channel import Final, Job, Target, reference
from streams.sinks.letter import letter
from streams.sinks.mail import bare_address, compose
from streams.sinks.smtp import Mailer, Server


class Email:
    name = "email"
    wants_context = True

    def __init__(self, server: Server, base_url: str) -> None:
        self._server = server
        self._base_url = base_url
        self._mailer = Mailer(server)

    def targets(self, receiver: Receiver) -> Sequence[Target]:
        """Addresses of the receiver, each once; all of them go over one lane, the SMTP server's."""
        found = {address: config for config in receiver.email for address in config.addresses}
        lane = f"smtp {self._server.host}:{self._server.port}"
        return [
            Target(channel=self.name, name=address, ref=reference(self.name, address), lane=lane, config=config)
            for address, config in found.items()
        ]

    async def send(self, job: Job) -> None:
        await self.send_staged(job, nullcontext)

    async def send_staged(self, job: Job, final: Final) -> None:
        config = job.target.config
        assert isinstance(config, EmailConfig)  # noqa: S101
        about = letter(job.notification, job.alerts, job.context, self._base_url, job.notes)
        try:
            recipient = bare_address(job.target.name)
            message = compose(job.notification, about, self._server.sender, job.target.name, config.headers)
        except ValueError as error:
            raise Invalid("address", str(error)[:200]) from error
        await self._mailer.send(message, recipient, final)

    async def close(self) -> None:
        await self._mailer.close()
