"""Stateful agents: keyed state that survives `kill -9` at any point, each input record applied exactly once (ADR 3).

For every partition of the input that this process is given, the state is read from the same partition of
`state.<agent>`; then batches are applied and time passes (`tick`), one after the other. Each step is durable, and its
outputs are, before the next one begins. Outputs come at least once: a crash repeats those of the last step, same bytes.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import structlog

from streams.batch import Batch
from streams.errors import Failure, Fatal, Retryable
from streams.journal import Reader, Writer
from streams.memory import give_back
from streams.metrics import RETRIES
from streams.owned import Fenced, Owned, decoder, waker
from streams.partition import Partition, Sender
from streams.record import Outgoing
from streams.state import Core, State
from streams.state_log import Followed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = structlog.get_logger(__name__)
E = TypeVar("E")
T = TypeVar("T")
TP = tuple[str, int]

TICK_S = 1.0
RETRY_S = 0.5
REVOKE_S = 3.0
"""How long a partition that goes may take to finish its step."""
AGAIN_S = 1.0
"""Wait before a partition is claimed again that another owner claimed while the group says it is ours."""


class Log(Protocol):
    """What reads the state topic (streams/state_log.py)."""

    def start(self) -> None: ...
    def close(self) -> None: ...
    def follow(self, followed: Followed) -> None: ...
    def unfollow(self, followed: Followed) -> None: ...
    def ends(self, partitions: Sequence[int]) -> dict[int, int]: ...


class Keyed(Generic[E]):
    """`fail` ends the process, `alive` tells its watchdog. `new_id` makes names of owners: never the same one twice."""

    def __init__(
        self,
        core: Core[E],
        sender: Sender,
        state_log: Log,
        *,
        name: str,
        state_topic: str,
        clock: Callable[[], int],
        fail: Callable[[BaseException], None],
        alive: Callable[[], None] = lambda: None,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self.name = name
        self.state_topic = state_topic
        self._core = core
        self._sender = sender
        self._log = state_log
        self._clock = clock
        self._fail = fail
        self._alive = alive
        self._new_id = new_id
        self._owned: dict[int, Owned[E]] = {}
        self._loading: set[Owned[E]] = set()
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._assigned: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    @property
    def partitions(self) -> Sequence[int]:
        """Those whose state is loaded."""
        return sorted(self._owned)

    @property
    def ready(self) -> bool:
        return self._assigned <= self._owned.keys()

    def owner(self, partition: int) -> int:
        """The number of our ownership of a loaded partition, another one each time it comes; 0: it is not ours."""
        owned = self._owned.get(partition)
        if owned is None or owned.gone or owned.followed.reader.epoch > owned.followed.reader.mine:
            return 0
        return owned.followed.reader.mine

    def mark(self, partition: int, key: str, value: bytes | None) -> Outgoing:
        """A note beside the steps (`marked` finds it, after a crash too), to be sent by the caller; None takes it back.
        Raises Retryable when the partition is not ours."""
        owner = self.owner(partition)
        if not owner:
            raise Retryable("state_not_loaded", f"{self.name}-{partition}")
        return Writer(self.state_topic, partition, owner).mark(key, value)

    def marked(self, partition: int, key: str) -> bytes | None:
        owned = self._owned.get(partition)
        return None if owned is None else owned.followed.reader.marks.get(key)

    async def start(self) -> None:
        self._log.start()
        self._spawn(self._ticking())

    def stop(self) -> None:
        """Load nothing any more; what is loaded goes on until it is revoked."""
        self._stopping = True
        for owned in self._loading:
            owned.gone = True
            owned.wake.set()

    async def close(self) -> None:
        self.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._log.close)

    async def assigned(self, partitions: Iterable[TP]) -> None:
        """Load the state of these; raises Retryable when Kafka is away. Their batches may come once it returned."""
        numbers = [partition for _topic, partition in partitions]
        self._assigned.update(numbers)
        if self._stopping:
            raise Retryable("stopping")
        loads = await asyncio.gather(*(self._load(number) for number in numbers), return_exceptions=True)
        for error in filter(None, loads):
            if isinstance(error, Fenced):
                raise Retryable("fenced", f"{self.name} was claimed by another owner while it was loaded") from error
            if isinstance(error, Exception) and not isinstance(error, Retryable):
                self._fail(error)
            raise error

    async def revoked(self, partitions: Iterable[TP]) -> None:
        """Give these up: finish the step under way if that is quick, say that it was sent, forget the state."""
        numbers = [partition for _topic, partition in partitions]
        self._assigned.difference_update(numbers)
        await asyncio.gather(*(self._give_up(self._owned.pop(n)) for n in numbers if n in self._owned))

    async def handle(self, batch: Batch) -> None:
        """Apply a batch; returns when it and its outputs are durable. What to give to `deliver`."""
        async with self._working(batch.partition) as owned:
            owned.active_ms = self._clock()
            await owned.partition.take(batch)

    async def apply(self, partition: int, change: Callable[[State[E]], tuple[T, Iterable[Outgoing]]]) -> T:
        """Run `change` between batches; return its result when what it changed and its outputs are durable.

        Raises Retryable when the bus is away (nothing was changed then) or the partition is not ours (any more).
        """
        out: list[T] = []

        def function(state: State[E]) -> Sequence[Outgoing]:
            result, outputs = change(state)
            out.append(result)
            return list(outputs)

        async with self._working(partition) as owned:
            try:
                await owned.partition.change(function)
            except Retryable:
                if owned.partition.pending is None or not out:
                    raise
                await self._insist(owned)
        return out[0]

    async def _insist(self, owned: Owned[E]) -> None:
        """Finish a step that was begun, however long it takes; raises once the partition is not ours any more."""
        while True:
            await asyncio.sleep(RETRY_S)
            try:
                return await owned.partition.settle()
            except Retryable:
                if owned.gone:
                    raise

    @asynccontextmanager
    async def _working(self, partition: int) -> AsyncIterator[Owned[E]]:
        owned = self._owned.get(partition)
        if owned is None:
            raise Retryable("state_not_loaded", f"{self.name}-{partition}")
        async with owned.partition.lock:
            if self._owned.get(partition) is not owned:
                raise Retryable("state_not_loaded", f"{self.name}-{partition}")
            try:
                yield owned
            except Fenced:
                log.warning("keyed.fenced", agent=self.name, partition=partition)
                self._drop(owned)
                self._spawn(self._again(partition))
                raise Retryable("fenced", f"{self.name}-{partition} was claimed by another owner") from None

    # Loading

    async def _load(self, number: int) -> None:
        async with self._locks[number]:
            if number in self._owned or number not in self._assigned:
                return
            owned = await self._claimed(number)
            if number in self._assigned:
                self._owned[number] = owned
            else:
                self._log.unfollow(owned.followed)

    async def _claimed(self, number: int) -> Owned[E]:
        """Read the state, claim the partition, read on until the claim is seen to hold, finish the last step."""
        upgraded: list[str] = []
        reader = Reader(self._new_id(), decoder(self._core, upgraded, f"{self.state_topic}-{number}"))
        followed = Followed(number, reader, waker(wake := asyncio.Event()))
        owned = Owned[E](followed, wake, self._alive)
        self._loading.add(owned)
        self._log.follow(followed)
        try:
            await self._look({number: owned})
            await owned.until(lambda: followed.at_end)
            epoch = 0
            while not reader.mine:
                if epoch == 0 or reader.refused >= epoch:
                    epoch = reader.epoch + 1
                    await self._sender.send(Writer(self.state_topic, number, epoch).claim(reader.owner))
                await owned.until(lambda asked=epoch: bool(reader.mine) or reader.refused >= asked)  # type: ignore[misc]
            owned.partition = Partition(
                self.name,
                self._core,
                self._sender,
                Writer(self.state_topic, number, reader.mine),
                reader,
                confirm=owned.confirm,
                check=owned.check,
            )
            for key in upgraded:
                owned.partition.state.rewrite(key)
            await owned.partition.settle()
        except BaseException:
            self._log.unfollow(followed)
            raise
        finally:
            self._loading.discard(owned)
        give_back()  # what was read is several times what it became
        owned.active_ms = self._clock()
        log.info(
            "keyed.loaded", agent=self.name, partition=number, entries=len(owned.partition.state), epoch=reader.mine
        )
        return owned

    async def _again(self, number: int) -> None:
        """The group says the partition is ours, yet somebody claimed it: a former owner that was slow, most likely."""
        while number in self._assigned and number not in self._owned:
            await asyncio.sleep(AGAIN_S)
            try:
                await self.assigned([("", number)] if number in self._assigned else [])
            except Retryable as error:
                log.warning("keyed.load_failed", agent=self.name, partition=number, reason=str(error))

    async def _give_up(self, owned: Owned[E]) -> None:
        with suppress(Failure, Fenced, TimeoutError):
            async with asyncio.timeout(REVOKE_S), owned.partition.lock:
                await owned.partition.settle()
                await owned.partition.mark_sent()
        self._drop(owned)

    def _drop(self, owned: Owned[E]) -> None:
        owned.gone = True
        owned.wake.set()
        self._log.unfollow(owned.followed)
        if self._owned.get(owned.followed.partition) is owned:
            del self._owned[owned.followed.partition]

    # Time

    async def _ticking(self) -> None:
        while not self._stopping:
            started = asyncio.get_running_loop().time()
            try:
                await self._look(self._owned)
            except Retryable as error:
                log.warning("keyed.time_stands_still", agent=self.name, reason=str(error))
                await asyncio.sleep(TICK_S)
                continue
            for number in self.partitions:
                try:
                    await self.tick(number)
                except Retryable as error:
                    log.warning("keyed.tick_delayed", agent=self.name, partition=number, reason=str(error))
                except Fatal as error:
                    self._fail(error)
                except Exception:
                    RETRIES.labels(self.name, "tick").inc()
                    log.exception("keyed.tick_failed", agent=self.name, partition=number)
            await asyncio.sleep(max(0.05, TICK_S - (asyncio.get_running_loop().time() - started)))

    async def tick(self, number: int) -> None:
        """Let time pass in one loaded partition, and finish or repair what is to be finished."""
        async with self._working(number) as owned:
            partition = owned.partition
            await self._look({number: owned})
            known_ms = owned.known_ms(self._clock())
            if known_ms is not None:
                await partition.change(lambda state: list(self._core.tick(state, known_ms)))
                owned.looked = None
            else:
                await partition.change(lambda _state: [])
            await partition.mark_sent()

    async def _look(self, partitions: Mapping[int, Owned[E]]) -> None:
        """Ask where the input ends now, of those for which the end asked last was reached. Raises Retryable."""
        wanted = {number: owned for number, owned in partitions.items() if owned.looked is None}
        now_ms = self._clock()
        ends = await asyncio.to_thread(self._log.ends, list(wanted)) if wanted else {}
        for number, end in ends.items():
            wanted[number].looked = end, now_ms

    def _spawn(self, coroutine: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
