"""Pages of accounts: what became of the records of one partition, an hour of record time each (`platform.accounts`)."""

from __future__ import annotations

from schemas.base import Event

Row = tuple[int, str, str, str, str, str, int, int]
"""Hour since the epoch, cluster, namespace, tenant, fate, by which rule or reason, records, bytes."""


class Page(Event, frozen=True, kw_only=True):
    """The lines of one hour, of one owner's term, in two versions: as of offset `upto`, and as of the last flush its
    owner knew to be committed."""

    upto: int
    lines: list[Row]
    safe_upto: int = -1
    safe_lines: list[Row] = []


class AccountPage(Event, frozen=True, kw_only=True):
    """A page and whose it is. Key: agent/topic/topic id/partition/epoch/term/hour.

    Of a source (`agent` is its name): `topic_id` is the process's instance, `term` and `partition` are 0, and the lines
    say what it received, or refused, for that topic."""

    agent: str
    topic: str
    topic_id: str
    partition: int
    epoch: int
    """When the account was begun, ms: another one once offsets were reset."""
    term: int
    hour: int
    page: Page
    source: bool = False
    cluster: str = ""

    @property
    def key(self) -> str:
        where = f"{self.agent}/{self.topic}/{self.topic_id}/{self.partition}"
        return f"{where}/{self.epoch}/{self.term}/{self.hour}"


class QuotaExceeded(Event, frozen=True, kw_only=True):
    """Who used up a hard quota for today. Key: quota/cluster/namespace/tenant. Empty: any. Over when `until_ms` is."""

    quota: str
    cluster: str = ""
    namespace: str = ""
    tenant: str = ""
    used_bytes: int
    limit_bytes: int
    until_ms: int

    @property
    def key(self) -> str:
        return f"{self.quota}/{self.cluster}/{self.namespace}/{self.tenant}"
