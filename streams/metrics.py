"""Every metric of Eventsphere, in one place: name, unit, labels (all bounded; no tenant, pod or user names)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RECEIVED = Counter("eventsphere_received_records", "Records a source acknowledged to its sender", ["source"])
REFUSED = Counter("eventsphere_refused", "What a source refused to take, by reason", ["source", "reason"])
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
RULE_RECORDS = Counter(
    "eventsphere_rule_records", "Records the rules looked at: parsed, or refused by their bytes", ["how"]
)
RULE_MATCHES = Counter("eventsphere_rule_matches", "Matches of rules found", ["topic"])
MATCHES_DROPPED = Counter(
    "eventsphere_rule_matches_dropped", "Matches windows did not take, or not in order", ["reason"]
)
MATCHES_LATE = Counter("eventsphere_rule_matches_late", "Matches from before the time windows had reached")
RULES_REFUSED = Gauge("eventsphere_rules_refused", "Errors in the rule files as last read")
WATCHING = Gauge("eventsphere_watching", "Whether a Kubernetes watch is up", ["cluster", "resource"])
CONTROL_SKIPPED = Counter("eventsphere_control_skipped_records", "Control messages that could not be decoded")
PROCESSED = Counter(
    "eventsphere_processed_records",
    "Records a processing document dropped, sampled away, masked, parsed or joined to another",
    ["document", "step"],
)
PROCESSED_BYTES = Counter(
    "eventsphere_processed_bytes", "Bytes of the records processed, as they came", ["document", "step"]
)
DOCUMENTS_REFUSED = Gauge("eventsphere_process_documents_refused", "Errors in the processing documents as last read")
