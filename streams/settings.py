"""All settings, typed, in one place: environment variables `EVENTSPHERE_A__B`, or one TOML file (`--config`).

Any secret can also be read from a file: `EVENTSPHERE_KAFKA__PASSWORD_FILE=/run/secrets/pw`. Environment wins over the
file. An unknown or wrong setting stops the start and is named, except the service variables Kubernetes injects.
"""

from __future__ import annotations

import os
import re
import tomllib
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from streams.connect_settings import ConnectCluster
from streams.notify_settings import NotifyPolicy
from streams.rule_settings import RuleBudget
from streams.watch_settings import BreakGlass, Canary

PREFIX = "EVENTSPHERE_"
_INJECTED = re.compile(r"EVENTSPHERE_(.*_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)")
"""What Kubernetes sets for Services named eventsphere-*: not ours."""
CONFIG = "EVENTSPHERE_CONFIG"
"""Path of a TOML file, for processes that are started without `--config`."""
_OUTSIDE = frozenset({CONFIG, "EVENTSPHERE_TEST_REQUIRE"})


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Kafka(Section):
    bootstrap_servers: str = ""
    """Empty: the embedded broker is started."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = ""
    username: str = ""
    """With OAUTHBEARER the client's id, and `password` its secret."""
    password: SecretStr = SecretStr("")
    token_url: str = Field("", pattern=r"^$|^https?://[^/]+")
    """Where OAUTHBEARER gets its tokens: an OAuth 2 server's token endpoint (client credentials)."""
    token_scope: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    key_password: SecretStr = SecretStr("")
    replication_factor: int = Field(3, ge=1)
    min_insync_replicas: int = Field(2, ge=1)
    partitions: int = Field(0, ge=0)
    """Overrides the catalogue's partition counts of topics that have more than one (0: as the catalogue says)."""


class Tier(Section):
    """Log records of these tenants and namespaces (globs; none named: all) have dated indices of their own."""

    name: str = Field(pattern="^[a-z][a-z0-9]{0,31}$")
    """Part of their names: `<prefix>-logs-<name>-2026.11.24`."""
    tenants: list[str] = []
    namespaces: list[str] = []
    days: float = Field(0.0, ge=0)
    """Days its records are kept, unless a rule of `retention` names them (0: as everything else). Only where the tier
    is by namespaces alone."""
    replicas: int = Field(-1, ge=-1)
    """Copies of each index beside the first (-1: one where there are two nodes, else none)."""


class Index(Section):
    url: str = Field("", pattern=r"^$|^https?://[^/]+")
    """Such as https://elasticsearch:9200. Empty: tantivy in the data directory."""
    api_key: SecretStr = SecretStr("")
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: str = ""
    prefix: str = "eventsphere"
    compress: bool | Literal["auto"] = "auto"
    """Whether requests to Elasticsearch are gzipped: a tenth of the network for 1.5 CPU-seconds a million records.
    `auto`: when it is on another machine."""
    tiers: list[Tier] = []
    """Elasticsearch: the first that matches a log record decides; `days` and `replicas` are the tier's own. What none
    matches goes to `<prefix>-logs-2026.11.24`. Change it when topics hold nothing to be read again."""
    commit_interval_s: float = Field(1.0, gt=0)
    """Embedded index: how often written documents become searchable."""
    max_gib: float = Field(0.0, ge=0)
    """Embedded index: beyond this size the oldest days go (0: a quarter of the disk it is on)."""


class RetentionRule(Section):
    """Records of `kinds` (none named: all) of clusters and namespaces these globs match are kept for `days`."""

    cluster: str = "*"
    namespace: str = "*"
    kinds: list[Literal["logs", "events", "objects", "gaps", "audit", "notifications", "outcomes"]] = []
    days: float = Field(ge=0)
    """0: for ever."""


class Retention(Section):
    """How long records can be found. Kafka's topics have a retention of their own."""

    default_days: float = Field(0.0, ge=0)
    """Days that records are kept which no rule names (0: for ever)."""
    rules: list[RetentionRule] = []
    """`{cluster, namespace, kinds, days}`: globs, `*` for any characters; the first that matches a record decides."""
    every_s: float = Field(300.0, gt=0)
    """How often what has expired is deleted; it is not shown from the minute it expires."""


class Archive(Section):
    """A copy of every log record, compressed, outside of the search index."""

    url: str = ""
    """`file:///folder` or `s3://bucket/prefix`; empty: no archive."""
    s3_endpoint: str = ""
    """`https://host:port` of an S3-compatible store."""
    s3_region: str = "us-east-1"
    s3_access_key: str = ""
    s3_secret_key: SecretStr = SecretStr("")
    s3_ca_file: str = ""
    max_wait_s: float = Field(300.0, gt=0)
    """How long a record may wait until it is in the archive; longer waits write fewer times."""


class Database(Section):
    url: SecretStr = SecretStr("")
    """An SQLAlchemy URL; empty: SQLite in the data directory."""


class Smtp(Section):
    url: SecretStr = SecretStr("")
    """smtp|smtp+starttls|smtps://user:pw@host:port?from=address&ca_file=path; empty: the local mailbox."""

    @field_validator("url")
    @classmethod
    def _is_one(cls, url: SecretStr) -> SecretStr:
        from streams.sinks.smtp import parse_url

        if url.get_secret_value():
            parse_url(url.get_secret_value())
        return url


class Mailbox(Section):
    """The local mailbox: an SMTP server in the gateway, on loopback, started when `smtp.url` is empty."""

    port: int = Field(1025, ge=1, le=65535)
    max_messages: int = Field(5000, ge=1)
    max_bytes: int = Field(256 << 20, ge=1 << 20)
    """Oldest messages beyond either limit are forgotten."""


class Prometheus(Section):
    """Whom rules over `metrics` ask; with `username` or `token` where it wants to know who does."""

    url: str = ""
    username: str = ""
    password: SecretStr = SecretStr("")
    token: SecretStr = SecretStr("")
    """A bearer token."""
    ca_file: str = ""
    timeout_s: float = Field(15.0, gt=0, le=120)
    at_once: int = Field(4, ge=1, le=64)
    """Queries under way at a time."""


class Cluster(Section):
    name: str = ""
    """Default: the uid of the kube-system namespace, or `local` without a cluster."""


class Rules(Section):
    dir: str = ""
    """Folder with rule files (*.yaml); the rules shipped with Eventsphere always apply."""
    budget: RuleBudget = RuleBudget()


class Process(Section):
    dir: str = ""
    """Folder with processing documents (*.yaml): what is dropped, sampled, masked, parsed and joined before it is
    indexed. They are read again when a file changes; a wrong one stops the start of whoever indexes."""


class Alerting(Section):
    config: str = ""
    """An alertmanager.yml: route tree and receivers. Empty: everything goes to the local mailbox."""
    policies: str = ""
    """A document of policies beside it: repeats, digests, quiet hours, escalation, inhibition by level."""


class Notify(Section):
    mode: Literal["live", "shadow"] = "live"
    allow_private_addresses: bool = True
    """Whether webhooks may reach loopback and private addresses (turn off where tenants choose the URLs)."""
    policies: list[NotifyPolicy] = []
    """How deliveries are tried again and paced, by channel and receiver; the first that fits holds."""


class Forward(Section):
    host: str = "127.0.0.1"
    port: int = Field(24224, ge=0, le=65535)
    shared_key: SecretStr = SecretStr("")
    username: str = ""
    """With it senders prove a user too, beside the shared key."""
    password: SecretStr = SecretStr("")
    certificate_file: str = ""
    key_file: str = ""
    client_ca_file: str = ""
    max_chunk_bytes: int = Field(64 << 20, ge=1 << 16)
    """Limit of one chunk, as sent and after decompression."""
    max_connections: int = Field(1024, ge=1)
    max_in_flight_bytes: int = Field(64 << 20, ge=1 << 20)
    """Bytes received and not yet in Kafka, over all connections; beyond them senders wait. While Kafka is away, memory
    grows by about twice as much."""
    idle_timeout_s: float = Field(3600.0, gt=0)
    """A connection that sends nothing for so long is closed."""
    processes: int = Field(0, ge=0, le=64)
    """That share the port and the limits above, for more than one core's worth of input (0: one for every four cores,
    at most four)."""


class Gateway(Section):
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    public_url: str = ""
    """How links in mails reach the gateway; default its own address."""
    max_body_bytes: int = 32 << 20
    max_inflated_bytes: int = 128 << 20
    """Limit of one body after decompression."""
    max_in_flight_bytes: int = Field(256 << 20, ge=1 << 20)
    """Of log records that are being taken in, over all senders; one sender gets at most half of it."""
    metrics_open: bool = True
    token_hours: int = Field(12, ge=1)
    login_attempts: int = Field(5, ge=1)
    """Wrong passwords within the window that lock an account for the window."""
    login_window_s: int = Field(900, ge=1)
    requests_per_s: float = Field(200.0, gt=0)
    """Of one account or token, on the long run; `burst` at once."""
    burst: int = Field(1000, ge=1)
    max_streams: int = Field(64, ge=0)
    """Live streams (SSE) at the same time; each has a Kafka consumer of its own."""
    ready_urls: list[str] = []
    """Readiness of other processes that counts as the gateway's own, as URL or NAME=URL (`eventsphere up` names worker
    and sources)."""


class Jenkins(Section):
    url: str = ""
    username: str = ""
    token: SecretStr = SecretStr("")


class Trigger(Section):
    """A push to `branch` of `repository` touching `paths` (globs) starts Jenkins job `job`: one of `tenant`'s, which is
    that of the hook it came by."""

    name: str
    tenant: str = "platform"
    repository: str
    branch: str = "main"
    paths: list[str] = []
    job: str
    parameters: dict[str, str] = {}


class Hook(Section):
    """An inbound webhook `/hooks/{kind}/{id}` and the secret its sender proves."""

    kind: Literal["gitlab", "github", "alertmanager", "kube-audit"]
    id: str
    secret: SecretStr
    tenant: str = "platform"
    cluster: str = ""
    """Of what a `kube-audit` hook brings; default the cluster of these settings."""


class Worker(Section):
    name: str = "w1"
    metrics_host: str = "127.0.0.1"
    """Where worker and sources serve `/livez`, `/readyz` and `/metrics` (in a pod: 0.0.0.0)."""
    metrics_port: int = Field(0, ge=0, le=65535)
    max_batch_records: int = Field(10_000, ge=1)
    max_in_flight_bytes: int = Field(64 << 20, ge=1 << 20)
    watchdog_s: float = Field(60.0, gt=0)
    dead_letter_limit: int = Field(1000, ge=1)
    """Dead letters of unknown cause a worker writes within a minute before it stops itself."""
    window_lateness_s: float = Field(0.0, ge=0)
    count_places: bool = True
    """Whether the ledger tells logs apart by cluster, namespace and tenant, as quotas need it: 0.7 us a record."""


class Quota(Section):
    """How many bytes of logs (UTC day, by record time) each of those it is for may send. `namespace`, `cluster` and
    `tenant` are globs. `each`: counted for each namespace by itself, each tenant, or all together. `hard`: what is
    beyond is refused, or left out and counted; else it is only told about."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9.-]*$")
    namespace: str = "*"
    cluster: str = "*"
    tenant: str = "*"
    each: Literal["namespace", "tenant", "all"] = "namespace"
    bytes_per_day: int = Field(ge=1)
    hard: bool = False
    warn_ratio: float = Field(0.8, gt=0, le=1)
    """From this part of it on it is told about."""


class Settings(Section):
    data_dir: str = ""
    kafka: Kafka = Kafka()
    index: Index = Index()
    retention: Retention = Retention()
    archive: Archive = Archive()
    database: Database = Database()
    smtp: Smtp = Smtp()
    mailbox: Mailbox = Mailbox()
    prometheus: Prometheus = Prometheus()
    cluster: Cluster = Cluster()
    kubeconfigs: list[str] = []
    """Paths (environment: comma separated). `in-cluster` uses the pod's service account."""
    rules: Rules = Rules()
    process: Process = Process()
    alerting: Alerting = Alerting()
    notify: Notify = Notify()
    forward: Forward = Forward()
    gateway: Gateway = Gateway()
    jenkins: Jenkins = Jenkins()
    triggers: list[Trigger] = []
    """Builds that pushes start; as JSON, or `[[triggers]]` in TOML: docs/how-to/receive-webhooks.md."""
    connect: ConnectCluster = ConnectCluster()
    hooks: list[Hook] = []
    """Webhooks taken in, with their secrets; as JSON, or `[[hooks]]` in TOML: docs/how-to/receive-webhooks.md."""
    worker: Worker = Worker()
    canary: Canary = Canary()
    break_glass: BreakGlass = BreakGlass()
    quotas: list[Quota] = []
    secret_key: SecretStr = SecretStr("")
    """Signs sessions and resume points; default: generated into the data directory."""
    self_logging: bool = True
    full_disk_percent: float = Field(90.0, gt=0, le=100)
    """When the disk of `data_dir` is as full as that, no more log records are taken in."""

    @field_validator("quotas")
    @classmethod
    def _named_once(cls, quotas: list[Quota]) -> list[Quota]:
        names = [quota.name for quota in quotas]
        if len(set(names)) < len(names):
            raise ValueError("each quota needs a name of its own")
        return quotas


class WrongSettings(Exception):
    """What is wrong, one line a setting, each naming it as the user wrote it and what is expected."""


def load(config: str | None = None, environ: dict[str, str] | None = None) -> Settings:
    """Read the TOML file `config` and the environment. Raises WrongSettings naming every unknown or wrong one."""
    environ = dict(os.environ) if environ is None else environ
    config = config or environ.get(CONFIG)
    tree: dict[str, Any] = _read_toml(config) if config else {}
    for name, value in sorted(environ.items()):
        if name.startswith(PREFIX) and name not in _OUTSIDE:
            _place(tree, name, value)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise WrongSettings("\n".join(_lines(error))) from None


def _read_toml(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WrongSettings(f"{path}: cannot be read as TOML: {error}") from None


def _place(tree: dict[str, Any], name: str, value: str) -> None:
    path = name[len(PREFIX) :].lower().split("__")
    model: Any = Settings
    node = tree
    for i, part in enumerate(path):
        fields = model.model_fields if isinstance(model, type) and issubclass(model, BaseModel) else {}
        last = i == len(path) - 1
        if last and part not in fields and part.endswith("_file") and part[:-5] in fields:
            part, value = part[:-5], _read_secret(name, value)
        if part not in fields:
            if _INJECTED.fullmatch(name):
                return
            raise WrongSettings(f"{name}: no such setting; here one of: {', '.join(sorted(fields)) or 'none'}")
        model = fields[part].annotation
        if last:
            node[part] = _parsed(name, model, value)
        else:
            node = node.setdefault(part, {})


def _parsed(name: str, model: Any, value: str) -> Any:
    """Lists of text come comma separated; lists of tables (hooks, triggers) and tables as JSON."""
    if model == list[str]:
        return [item for item in (part.strip() for part in value.split(",")) if item]
    if getattr(model, "__origin__", None) is list or (isinstance(model, type) and issubclass(model, BaseModel)):
        import msgspec

        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            if _INJECTED.fullmatch(name):
                return {}
            raise WrongSettings(f"{name}: expected JSON: {error}") from None
    return value


def _read_secret(name: str, path: str) -> str:
    try:
        return Path(path).read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongSettings(f"{name}: cannot read {path!r}: {error}") from None


def _lines(error: ValidationError) -> list[str]:
    out = []
    for item in error.errors(include_input=False, include_url=False):
        path = item["loc"]
        named = takewhile(lambda part: isinstance(part, str), path)  # of a list, the variable holds it whole
        dotted = ".".join(map(str, path))
        why = item["msg"].removeprefix("Value error, ").removeprefix(f"{dotted}: ")
        if item["type"] == "extra_forbidden":
            why = f"no such setting; here one of: {', '.join(_siblings(path))}"
        out.append(f"{PREFIX}{'__'.join(map(str, named)).upper()} ({dotted}): {why}")
    return out


def _siblings(path: tuple[int | str, ...]) -> list[str]:
    """The settings there are beside the one at `path`."""
    model: Any = Settings
    for part in path[:-1]:
        model = model.model_fields[part].annotation if isinstance(part, str) else get_args(model)[0]
    return sorted(model.model_fields)


def environment(settings: Settings) -> dict[str, str]:
    """Settings as one environment variable a section: how `eventsphere up` hands them to its children."""
    import msgspec

    dumped = _reveal(settings.model_dump())
    out = {}
    for key, value in dumped.items():
        if isinstance(value, (dict, list)) and key != "kubeconfigs":
            out[f"{PREFIX}{key.upper()}"] = msgspec.json.encode(value).decode()
        elif key == "kubeconfigs":
            out[f"{PREFIX}{key.upper()}"] = ",".join(value)
        else:
            out[f"{PREFIX}{key.upper()}"] = str(value)
    return out


def _reveal(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, dict):
        return {k: _reveal(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_reveal(v) for v in value]
    return value
