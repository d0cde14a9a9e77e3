"""Channel `email`: each address of the receiver is a delivery of its own, a mail of its own, one SMTP transaction."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from schemas.alerting import EmailConfig, Receiver
from streams.errors import Invalid
from streams.sinks.channel import Final, Job, Target, reference
from streams.sinks.letter import letter
from streams.sinks.mail import bare_address, compose
from streams.sinks.rendered import own_words
from streams.sinks.smtp import Mailer, Server, parse_url


class Email:
    name = "email"
    wants_context = True

    def __init__(self, server: Server, base_url: str) -> None:
        """`server`: that of receivers which name none."""
        self._base_url = base_url
        self._unsubscribe = f"{base_url}/me/notifications"
        self._mailers = {"": Mailer(server)}

    def targets(self, receiver: Receiver) -> Sequence[Target]:
        """Addresses of the receiver, each once; a lane is an SMTP server's."""
        found = {address: config for config in receiver.email for address in config.addresses}
        return [self._target(address, config) for address, config in found.items()]

    def person(self, address: str, language: str, *, send_resolved: bool) -> Target:
        """One address that no receiver names: of somebody who wants to be told in person."""
        return self._target(address, EmailConfig(to=address, send_resolved=send_resolved, language=language))

    def _target(self, address: str, config: EmailConfig) -> Target:
        server = self._mailer(config).server
        lane = f"smtp {server.host}:{server.port}"
        return Target(channel=self.name, name=address, ref=reference(self.name, address), lane=lane, config=config)

    def _mailer(self, config: EmailConfig) -> Mailer:
        if config.server not in self._mailers:
            self._mailers[config.server] = Mailer(parse_url(config.server))
        return self._mailers[config.server]

    async def send(self, job: Job) -> None:
        await self.send_staged(job, nullcontext)

    async def send_staged(self, job: Job, final: Final) -> None:
        config = job.target.config
        assert isinstance(config, EmailConfig)  # noqa: S101
        own = own_words(config, job.notification, job.alerts, self._base_url)
        about = letter(
            job.notification, job.alerts, job.context, self._base_url, [*job.notes, *own.notes], config.language
        )
        mailer = self._mailer(config)
        try:
            recipient = bare_address(job.target.name)
            message = compose(
                job.notification, about, mailer.server.sender, job.target.name, own.headers, own, self._unsubscribe
            )
        except ValueError as error:
            raise Invalid("address", str(error)[:200]) from error
        await mailer.send(message, recipient, final)

    async def close(self) -> None:
        for mailer in self._mailers.values():
            await mailer.close()
