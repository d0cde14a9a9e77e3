"""What tantivy counts: histograms, values of fields, containers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import tantivy

from streams.sinks.index.embedded.compiled import OWN, all_of, compiled, terms
from streams.sinks.index.embedded.search import count
from streams.sinks.index.language_fields import HAS, PLACE, TEXT
from streams.sinks.index.language_parser import DRAWN
from streams.sinks.index.port import Query, Top

MAX_BUCKETS = 60_000
MAX_VALUES = 20_000
"""Values of a field that are looked at; of a field with more, the first of them by name."""


def histogram(searchers: Sequence[tantivy.Searcher], query: Query, step_ms: int) -> dict[int, int]:
    wanted, out = compiled(query), Counter[int]()
    request = {"time": {"histogram": {"field": "time", "interval": step_ms, "min_doc_count": 1}}}
    for searcher in searchers:
        found: dict[str, Any] = searcher.aggregate(wanted, request)
        out.update({round(bucket["key"]): bucket["doc_count"] for bucket in found["time"]["buckets"]})
    return dict(sorted(out.items()))


def top(searchers: Sequence[tantivy.Searcher], query: Query, field: str, limit: int) -> Top:
    wanted, drawn = compiled(query), field in DRAWN
    name, stem = (field, "") if drawn else (OWN, field + TEXT)
    values, records = Counter[str](), 0
    for searcher in searchers:
        found = searcher.terms_with_prefix(name, stem, wanted, MAX_VALUES)
        values.update({term[len(stem) :]: each for term, each in found})
        if drawn:
            records += sum(each for _, each in found)
        else:
            records += count(searcher, all_of([wanted, terms(OWN, (HAS + field,))]))
    ranked = sorted(((value, each) for value, each in values.items() if each), key=lambda item: (-item[1], item[0]))
    return Top(records=records, values=ranked[:limit])


def containers(searchers: Sequence[tantivy.Searcher], query: Query) -> int:
    wanted = compiled(query)
    places = (searcher.terms_with_prefix(OWN, PLACE, wanted, MAX_BUCKETS) for searcher in searchers)
    return len({place for found in places for place, each in found if each})
