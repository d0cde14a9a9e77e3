"""A compressed copy of log records outside of Kafka and the search index, in a folder or an S3-compatible store.

Objects are zstd-compressed NDJSON, `<topic>/<topic id>/<partition>/<first offset>-<last offset>.ndjson.zst`, each with
a manifest `....json` beside it; the topic id is percent-encoded (Kafka's may hold a `/`). An object holds the records
of one span of `SPAN` offsets; while its span goes on it is written again under a longer name, and the shorter one
deleted. So a name says exactly what is in it, and whoever writes it, however often, writes the same.
"""
