"""A peer: quixstreams with its own Elasticsearch sink, as its documentation puts them together. Runs in an environment
of its own (quixstreams needs other versions than we do), so nothing of ours is imported.
"""

from __future__ import annotations

import os

from quixstreams import Application  # type: ignore[import-not-found, unused-ignore]
from quixstreams.kafka.configuration import ConnectionConfig  # type: ignore[import-not-found, unused-ignore]
from quixstreams.sinks.community.elasticsearch import ElasticsearchSink  # type: ignore[import-not-found, unused-ignore]


def main() -> None:
    connection = ConnectionConfig(
        bootstrap_servers=os.environ["BENCH_BROKERS"],
        security_protocol=os.environ["BENCH_PROTOCOL"].lower(),
        sasl_mechanism=os.environ["BENCH_MECHANISM"] or None,
        sasl_username=os.environ["BENCH_USERNAME"] or None,
        sasl_password=os.environ["BENCH_PASSWORD"] or None,
    )
    app = Application(
        broker_address=connection,
        consumer_group=os.environ["BENCH_GROUP"],
        auto_offset_reset="earliest",
        auto_create_topics=False,
        loglevel="WARNING",
    )
    topic = app.topic("logs", value_deserializer="json", key_deserializer="str")
    sink = ElasticsearchSink(url=os.environ["BENCH_URL"], index="bench", batch_size=5000)
    app.dataframe(topic).sink(sink)
    app.run()


if __name__ == "__main__":
    main()
