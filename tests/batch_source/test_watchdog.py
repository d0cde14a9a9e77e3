"""When a process that has work and does nothing ends itself. No thread and no clock but the test's."""

from __future__ import annotations

from streams.watchdog import EXIT_STATUS, Watchdog


class Source:
    name = "agent"

    def __init__(self) -> None:
        self.assigned = {("logs", 0)}
        self.lag = 5
        self.fetched = 0


class Bench:
    def __init__(self) -> None:
        self.now = 1000.0
        self.exits: list[int] = []
        self.source = Source()
        self.watchdog = Watchdog(60.0, clock=lambda: self.now, exit_=self.exits.append)
        self.watchdog.watch(self.source)
        self.watchdog.look()

    def after(self, seconds: float) -> bool:
        """Whether it ended the process, looking once a second for that long."""
        for _ in range(int(seconds)):
            self.now += 1
            self.watchdog.look()
        return bool(self.exits)


def test_a_source_with_lag_that_does_nothing_ends_the_process() -> None:
    bench = Bench()
    assert not bench.after(59)
    assert bench.after(1)
    assert bench.exits[0] == EXIT_STATUS


def test_without_lag_or_partitions_there_is_nothing_to_do() -> None:
    bench = Bench()
    bench.source.lag = 0
    assert not bench.after(600)
    bench.source.lag = 5
    assert not bench.after(59), "counted from when the lag came"
    bench.source.assigned = set()
    assert not bench.after(600)


def test_fetching_and_trying_the_sink_are_progress() -> None:
    bench = Bench()
    for _ in range(10):
        bench.source.fetched += 1
        assert not bench.after(50)
        bench.watchdog.tried("agent")
        assert not bench.after(50)
    assert bench.after(60)


def test_a_back_off_is_progress_as_long_as_it_was_declared() -> None:
    bench = Bench()
    bench.watchdog.backing_off("agent", 30.0)
    assert not bench.after(89)
    assert bench.after(1)


def test_another_source_working_does_not_hide_a_stalled_one() -> None:
    bench = Bench()
    other = Source()
    other.name = "other"
    bench.watchdog.watch(other)
    for _ in range(59):
        other.fetched += 1
        assert not bench.after(1)
    assert bench.after(1)
