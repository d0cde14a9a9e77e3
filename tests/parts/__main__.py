"""`make parts`: bring what the parts are made of into the cache; what cannot be had is named and left out."""

from __future__ import annotations

import sys
from collections.abc import Callable

from deploy.local import jars
from tests.parts import connect, elasticsearch, s3
from tests.parts.kube import build
from tests.parts.process import Missing


def main() -> None:
    steps: dict[str, Callable[[], object]] = {
        "Kafka": jars.fetch,
        "Kafka Connect": connect.fetch,
        "Debezium's JDBC sink": connect.fetch_jdbc,
        "Elasticsearch": elasticsearch.fetch,
        "S3": s3.fetch,
        "Kubernetes": lambda: build.build(*build.API),
    }
    for name, fetch in steps.items():
        try:
            fetch()
        except (Missing, jars.NotFetched) as error:
            print(f"left out: {name}: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
