"""Every metric of Eventsphere, in one place: name, unit, labels (all bounded; no tenant, pod or user names)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from streams.latency import BOUNDS_S

RECEIVED = Counter("eventsphere_received_records", "Records a source acknowledged to its sender", ["source"])
REFUSED = Counter("eventsphere_refused", "What a source refused to take, by reason", ["source", "reason"])
SOURCE_RESTARTS = Counter("eventsphere_source_restarts", "Processes of the sources that ended and were started again")
DISK_FULL = Gauge("eventsphere_disk_full", "Whether input is refused because the data directory's disk is full")
CONSUMED = Counter("eventsphere_consumed_records", "Records read from Kafka", ["agent", "topic"])
FINISHED = Counter("eventsphere_finished_records", "Records whose effects are durable", ["agent", "topic"])
DEAD_LETTERS = Counter(
    "eventsphere_dead_letters", "Records written to a dead-letter topic", ["agent", "topic", "reason"]
)
RETRIES = Counter("eventsphere_retries", "Attempts after a failure", ["agent", "reason"])
IN_FLIGHT = Gauge("eventsphere_in_flight_bytes", "Bytes of batches read and not finished", ["agent"])
LAG = Gauge("eventsphere_lag_records", "Records in the partitions assigned here and not finished", ["agent", "topic"])
REDELIVERED = Counter("eventsphere_redelivered_batches", "Batches put on the channel again", ["agent"])
HANDLE_SECONDS = Histogram("eventsphere_handle_seconds", "Time of one handled batch", ["agent"])
NOTIFIED = Counter("eventsphere_notification_attempts", "Attempts at delivering a notification", ["channel", "result"])
GAPS = Counter("eventsphere_gaps", "Records published to the gaps topic", ["source"])
OWN_ERRORS = Counter(
    "eventsphere_own_log_errors", "Errors about our own log records: counted, never logged", ["reason"]
)
REQUESTS = Counter("eventsphere_http_requests", "HTTP requests answered", ["method", "route", "status"])
REQUEST_SECONDS = Histogram("eventsphere_http_request_seconds", "Time to the first byte of an answer", ["route"])
STREAMS = Gauge("eventsphere_streams", "Live streams (SSE) open")
STREAM_GAPS = Counter("eventsphere_stream_gaps", "Gaps a live stream told its reader about", ["reason"])
AUDIT_LOST = Counter("eventsphere_audit_lost", "Audit records that could not be written", ["reason"])
VIEW_SKIPPED = Counter("eventsphere_view_skipped_records", "Records of a view not decodable", ["topic"])
SILENCES_WRONG = Counter(
    "eventsphere_wrong_silences", "Silences read off their topic that cannot hold (bad matchers), and are left out"
)
RULE_RECORDS = Counter(
    "eventsphere_rule_records", "Records the rules looked at: parsed, or refused by their bytes", ["how"]
)
RULE_MATCHES = Counter("eventsphere_rule_matches", "Matches of rules found", ["topic"])
MATCHES_DROPPED = Counter(
    "eventsphere_rule_matches_dropped", "Matches windows did not take, or not in order", ["reason"]
)
MATCHES_LATE = Counter("eventsphere_rule_matches_late", "Matches from before the time windows had reached")
METRIC_RULES = Counter(
    "eventsphere_metric_rule_evaluations", "Queries of rules over metrics: ok, or why there was no result", ["result"]
)
RULE_ERRORS = Counter("eventsphere_rule_errors", "Records a rule's conditions could not be evaluated for")
RULES_ASIDE = Gauge("eventsphere_rules_quarantined", "Rules put aside now because they took more than one may")
QUARANTINES = Counter("eventsphere_rule_quarantines", "Times a rule was put aside, by what it took", ["reason"])
RULES_REFUSED = Gauge("eventsphere_rules_refused", "Errors in the rule files as last read")
PROCESSED = Counter(
    "eventsphere_processed_records",
    "Records a processing document dropped, sampled away, masked, parsed or joined to another",
    ["document", "step"],
)
PROCESSED_BYTES = Counter(
    "eventsphere_processed_bytes", "Bytes of the records processed, as they came", ["document", "step"]
)
INDEX_FALLBACKS = Counter(
    "eventsphere_index_fallback_records",
    "Records stored without what the search index refused of them, by the field it refused",
    ["kind", "field"],
)
DOCUMENTS_REFUSED = Gauge("eventsphere_process_documents_refused", "Errors in the processing documents as last read")
WATCHING = Gauge("eventsphere_watching", "Whether a Kubernetes watch is up", ["cluster", "resource"])
CONTROL_SKIPPED = Counter("eventsphere_control_skipped_records", "Control messages that could not be decoded")

LEDGER_ADDS_UP = Gauge(
    "eventsphere_ledger_adds_up", "Whether the ledger of a topic adds up, as last looked at", ["topic"]
)
BUS_UP = Gauge("eventsphere_bus_up", "Whether Kafka answered when the gateway last asked")
INDEX_UP = Gauge("eventsphere_index_up", "Whether the search index answered when the gateway last asked")
DISK_FREE = Gauge("eventsphere_disk_free_ratio", "Free part of the disk that holds the data directory")
QUOTA_RATIO = Gauge("eventsphere_quota_used_ratio", "Most used part of a quota today, of all it is for", ["quota"])
QUOTA_WARNED = Gauge("eventsphere_quota_warned", "How many are near a quota today, or beyond it", ["quota"])
QUOTA_OVER = Gauge("eventsphere_quota_exceeded", "How many are beyond a quota today", ["quota"])


CANARY_SECONDS = Gauge("eventsphere_canary_trip_seconds", "How long the last canary took from its topic to delivery")
CANARY_AT = Gauge(
    "eventsphere_canary_arrived_timestamp_seconds", "When the last canary arrived (at first: when its sender started)"
)
CANARY_EVERY = Gauge("eventsphere_canary_every_seconds", "How often a canary is sent (0: never)")
HEARTBEATS = Counter("eventsphere_heartbeats", "Heartbeats sent out, by what became of them", ["result"])
BREAK_GLASS = Counter(
    "eventsphere_break_glass_alerts", "Alerts told directly because Kafka was away, by what became of it", ["result"]
)


class Searchable(Collector):
    """`eventsphere_searchable_seconds`: time between a record's own and when it was done. A histogram that is given
    many records at once: prometheus_client's takes one at a time."""

    name = "eventsphere_searchable_seconds"
    documentation = "Time from a record's own until its effects were durable and searchable"

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, agent: str, found: Sequence[int], times_ms: Sequence[int], now_ms: int) -> None:
        """Add records by bucket (latency.py), and their times."""
        known = self._counts.setdefault(agent, [0] * (len(BOUNDS_S) + 1))
        for bucket, count in enumerate(found):
            known[bucket] += count
        self._sums[agent] = self._sums.get(agent, 0.0) + (now_ms * len(times_ms) - sum(times_ms)) / 1000

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self.name, self.documentation, labels=["agent"])
        for agent, found in list(self._counts.items()):
            total, buckets = 0, []
            for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), list(found), strict=True):
                total += count
                buckets.append((bound, float(total)))
            family.add_metric([agent], buckets, self._sums[agent])
        yield family


SEARCHABLE = Searchable()
REGISTRY.register(SEARCHABLE)
INDEX_BYTES = Gauge("eventsphere_index_bytes", "Bytes of the search index on disk, as this worker sees it", ["kind"])
INDEX_DOCUMENTS = Gauge("eventsphere_index_documents", "Documents in the search index", ["kind"])
INDEX_LIMIT = Gauge("eventsphere_index_limit_bytes", "What the embedded search index may take on disk (0: no limit)")
INDEX_REMOVED = Counter("eventsphere_index_removed_documents", "Documents deleted by retention", ["kind", "reason"])
ARCHIVED = Counter("eventsphere_archived_records", "Records written to the archive", ["topic"])
ARCHIVED_BYTES = Counter("eventsphere_archived_bytes", "Bytes of them, compressed", ["topic"])
