"""One partition of a stateful agent while this process owns it: decides, and writes down each step (journal.py).

Not safe for two at once: whoever works on it holds `lock`. A step that could not be written stays `pending` and is
finished before anything else, so that memory and log never part.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec
import structlog

from schemas.catalogue import DLQ_SUFFIX, catalogue
from streams.batch import Batch
from streams.dead_letters import cut, letter
from streams.envelope import opened, trace_of, traced
from streams.errors import Fatal, Invalid
from streams.journal import Applied, Reader, Step, Writer
from streams.metrics import DEAD_LETTERS
from streams.record import Outgoing, Record
from streams.state import Core, State

log = structlog.get_logger(__name__)
E = TypeVar("E")

STEP_RECORDS = 1000
STEP_BYTES = 4 << 20
"""A batch is written in several steps when one would be larger: bounds memory and how long the event loop is held."""
ENTRY_BYTES = 6 << 20
_encode = msgspec.json.Encoder().encode


class Sender(Protocol):
    async def send(self, records: Sequence[Outgoing]) -> None: ...


class EntryTooLarge(Exception):
    """An entry grew over what one record can hold."""


class Partition(Generic[E]):
    """`confirm(seq)` returns once the log shows the journal of that step, written while we owned the partition; it and
    `check()` raise when another owner took over."""

    def __init__(
        self,
        agent: str,
        core: Core[E],
        sender: Sender,
        writer: Writer,
        reader: Reader[E],
        *,
        confirm: Callable[[int], Awaitable[None]],
        check: Callable[[], None],
    ) -> None:
        entries, self.applied = reader.take()
        self.lock = asyncio.Lock()
        self.state: State[E] = State(entries, partition=writer.partition)
        self.position = 0
        """End of the last batch that was worked on."""
        self.pending = reader.redo
        self._journaled = reader.redo is not None
        self._agent = agent
        self._core = core
        self._sender = sender
        self._writer = writer
        self._stale = reader.stale
        self._confirm = confirm
        self._check = check
        self._seq = reader.seq
        self._written: Step | None = None  # the last step, until the log says that all of it was sent
        self._outputs: list[Outgoing] = []
        self._output_bytes = 0
        self._step_start = self.applied

    @property
    def stale(self) -> bool:
        """Whether entries are to be written again because a former owner's came after them."""
        return bool(self._stale)

    async def take(self, batch: Batch) -> None:
        """Apply what of the batch was not applied before; returns when it and its outputs are durable.

        Raises Retryable when Kafka is away, and whatever the core raised for a record (but Invalid, which is its dead
        letter): what came before that record is written then.
        """
        await self.settle()
        same = not batch.topic_id or not self.applied.topic_id or batch.topic_id == self.applied.topic_id
        start = self.applied.offset if same else 0
        step: list[Record] = []
        for record in batch.records():
            if record.offset < start:
                continue
            try:
                self._decide(record, batch.topic_id)
            except Exception:
                await self._commit_records(step, batch.topic_id)
                raise
            step.append(record)
            if len(step) >= STEP_RECORDS or self._output_bytes >= STEP_BYTES:
                await self._commit_records(step, batch.topic_id)
                step = []
        await self._commit_records(step, batch.topic_id)
        self.position = batch.end_offset

    async def change(self, function: Callable[[State[E]], Sequence[Outgoing]]) -> None:
        """Run `function`, which changes the state and returns outputs; what it changed is taken back when it raises.

        On Retryable either nothing was changed, or the step is begun (`pending`): then `settle` until it is written.
        """
        await self.settle()
        self.state.mark()
        try:
            self._add(function(self.state))
            await self.commit()
        except EntryTooLarge as error:
            self._take_back()
            raise Invalid("entry_too_large", str(error)) from error
        except Exception:
            if self.pending is None:
                self._take_back()
            raise

    async def commit(self) -> None:
        """Write what changed since the last step, if anything did. Raises EntryTooLarge before anything is written."""
        while self._stale:
            self.state.rewrite(self._stale.popleft())
        if not self.state.dirty and not self._outputs:
            return
        entries = {key: _encode(self.state[key]) if key in self.state else None for key in self.state.dirty}
        for key, entry in entries.items():
            if entry is not None and len(entry) > ENTRY_BYTES:
                raise EntryTooLarge(f"entry {key[:80]!r} of {len(entry)} bytes")
        self.pending = Step(self._seq + 1, self._core.version, self.applied, entries, self._outputs)
        self._journaled = False
        self._begin()
        await self.settle()

    async def settle(self) -> None:
        """Finish the step that was begun. Raises Retryable when Kafka is away: call it again."""
        step = self.pending
        if step is None:
            return
        self._check()
        if not self._journaled:
            await self._send_state(self._writer.journal(step))
            await self._confirm(step.seq)
            self._journaled = True
        state = self._writer.entries(step) + self._writer.meta(step, step.seq - 1)
        try:
            await self._sender.send([*step.outputs, *state])
        except Invalid as error:
            await self._replace(step, error)
        self._seq, self._written, self.pending = step.seq, step, None

    async def mark_sent(self) -> None:
        """Say that all of the last step left, so that the next owner does not send it again."""
        if self._written is not None and self.pending is None:
            step, self._written = self._written, None
            await self._send_state(self._writer.meta(step, step.seq))

    def _begin(self) -> None:
        self.state.clean()
        self._outputs, self._output_bytes, self._step_start = [], 0, self.applied

    def _add(self, outputs: Sequence[Outgoing]) -> None:
        self._outputs.extend(outputs)
        self._output_bytes += sum(len(o.value or b"") for o in outputs)

    def _take_back(self) -> None:
        self.state.back_to_clean()
        self.state = self.state.twin()
        self.applied = self._step_start
        self._begin()

    def _decide(self, record: Record, topic_id: str) -> None:
        self.state.mark()
        try:
            inner = opened(record)
            self._add(list(traced(self._core.decide(self.state, inner), trace_of(inner.headers))))
        except Exception as error:
            if self.state.back_to_mark():
                self.state = self.state.twin()
            if not isinstance(error, Invalid):
                raise
            self._refuse(record, error)
        self.applied = Applied(topic_id or self.applied.topic_id, record.offset + 1)

    def _refuse(self, record: Record, error: Invalid) -> None:
        """The dead letter is an output of the step: neither can be without the other."""
        self._add([letter(record, agent=self._agent, reason=error.reason, detail=error.detail, attempt=1)])
        DEAD_LETTERS.labels(self._agent, record.topic, error.reason).inc()
        log.error("keyed.dead_letter", agent=self._agent, record=record.where, reason=error.reason)

    async def _commit_records(self, records: Sequence[Record], topic_id: str) -> None:
        """Write the step of these records; when an entry grew too large, find the record that did it and refuse it."""
        try:
            await self.commit()
        except EntryTooLarge:
            self._take_back()
            for record in records:
                self._decide(record, topic_id)
                try:
                    await self.commit()
                except EntryTooLarge as error:
                    self._take_back()
                    self._refuse(record, Invalid("entry_too_large", str(error)))
                    self.applied = Applied(topic_id or self.applied.topic_id, record.offset + 1)
                    await self.commit()
        self._step_start = self.applied

    async def _send_state(self, records: Sequence[Outgoing]) -> None:
        try:
            await self._sender.send(records)
        except Invalid as error:
            limit = f"{self._writer.topic} does not take a record of ours (its max.message.bytes): {error}"
            raise Fatal("state_too_large", limit) from error

    async def _replace(self, step: Step, error: Invalid) -> None:
        """Outputs over their topic's limit become dead letters (everything else of the step is stored by now)."""
        indexes = sorted(error.indexes or {})
        if not indexes or indexes[-1] >= len(step.outputs):
            raise Fatal("state_too_large", f"{self._writer.topic}: {error}") from error
        letters = [dead for i in indexes if (dead := _letter(step.outputs[i], self._agent)) is not None]
        for i in indexes:
            DEAD_LETTERS.labels(self._agent, step.outputs[i].topic, "too_large").inc()
            log.error("keyed.output_too_large", agent=self._agent, topic=step.outputs[i].topic)
        await self._send_state(letters)


def _letter(output: Outgoing, agent: str) -> Outgoing | None:
    if output.topic.endswith(DLQ_SUFFIX):
        return cut(output)
    if output.topic in catalogue() and not catalogue()[output.topic].dead_letters:
        return None
    record = Record(output.topic, output.partition, -1, output.key, output.value, output.timestamp_ms, output.headers)
    return cut(letter(record, agent=agent, reason="too_large", detail="over the topic's limit", attempt=1))
