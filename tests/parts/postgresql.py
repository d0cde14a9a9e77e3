"""A real PostgreSQL of the test's own, on a loopback port. Debian package postgresql."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.parts.process import Process, folder, free_port, program, run, running, unprivileged

FOLDERS = tuple(str(each) for each in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))


@dataclass(frozen=True)
class PostgreSQL:
    port: int
    user: str = "eventsphere"
    password: str = "secret-of-the-test"
    database: str = "postgres"

    def query(self, sql: str) -> list[list[str]]:
        """Rows as texts. Raises RuntimeError with what the server said."""
        psql = program("psql", package="postgresql-client")
        address = ["-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, "-d", self.database]
        out = run([psql, *address, "-AtX", "-F", "\t", "-c", sql], PGPASSWORD=self.password)
        return [line.split("\t") for line in out.splitlines()]


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """An empty server. Raises Missing when it is not installed."""
    initdb = program("initdb", package="postgresql", folders=FOLDERS)
    server = program("postgres", package="postgresql", folders=FOLDERS)
    user = unprivileged("postgres")
    with folder("postgresql", user) as base:
        part, data = PostgreSQL(free_port()), base / "data"
        secret = base / "password"
        secret.write_text(part.password, "ascii")
        run(
            [initdb, "-D", data, "-U", part.user, "-A", "scram-sha-256", f"--pwfile={secret}", "-N", "-E", "UTF8"],
            user=user,
            LC_ALL="C.UTF-8",
        )
        log = base / "postgresql.log"
        settings = ["listen_addresses=127.0.0.1", f"port={part.port}", f"unix_socket_directories={base}", "fsync=off"]
        command = [server, "-D", str(data), *(word for each in settings for word in ("-c", each))]
        process = Process("postgresql", command, log, user=user, env={"LC_ALL": "C.UTF-8"})
        ready = lambda: "ready to accept connections" in log.read_text("utf-8", "replace")  # noqa: E731
        with running(process, ready):
            yield part
