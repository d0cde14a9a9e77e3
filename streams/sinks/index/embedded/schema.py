"""The tantivy schema and tokenizers, and documents made of records. Pure but for tantivy's own objects.

Text is indexed twice, as Elasticsearch's `standard` and `simple` analyzers would: as tokens by Unicode's word
boundaries (UAX #29, approximated by one regular expression, compared in the contract suite) with positions, and as the
set of its runs of letters.
"""

from __future__ import annotations

from typing import Any

import msgspec
import tantivy

from streams.sinks.index.fields import Fields
from streams.sinks.index.ids import sort_time
from streams.sinks.index.query import Position

_LETTER = r"[\p{L}\p{M}--[\p{Han}\p{Hiragana}]]"
_RUN = rf"{_LETTER}+(?:[.:'\u2019\u00b7]{_LETTER}+)*"
_NUMBER = r"\p{Nd}+(?:[.,;'\u2019]\p{Nd}+)*"
TOKEN = rf"_*(?:{_RUN}|{_NUMBER})(?:{_RUN}|{_NUMBER}|_)*|[\p{{Han}}\p{{Hiragana}}]|\p{{Emoji_Presentation}}"
LETTERS = r"\p{L}+"
STANDARD, SIMPLE = "es_standard", "es_simple"

KEYWORDS = ("workload", "pod", "container", "names", "tenants", "own")
COUNTED = ("cluster", "namespace")
_LOW_BITS = 20
_LOW = (1 << _LOW_BITS) - 1


class Where(msgspec.Struct, frozen=True, array_like=True):
    """Where a record stands, stored beside its bytes."""

    id: str
    time_ms: int
    topic: str
    partition: int
    offset: int


encode_where = msgspec.msgpack.Encoder().encode
decode_where = msgspec.msgpack.Decoder(Where).decode


def order_of(time_ms: int, offset: int) -> int:
    """One number to sort by: the time, then the offset's low 20 bits, so that lines of one millisecond keep theirs."""
    return sort_time(time_ms) << _LOW_BITS | offset & _LOW


def order_at(position: Position) -> int:
    return order_of(position.time_ms, position.offset)


def schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("id", tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("order", fast=True)
    builder.add_unsigned_field("time", fast=True)
    builder.add_unsigned_field("partition", fast=True)
    builder.add_unsigned_field("offset", indexed=True)
    for name in COUNTED:
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic", fast=True)
    for name in KEYWORDS:
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("text", tokenizer_name=STANDARD)
    builder.add_text_field("words", tokenizer_name=SIMPLE, index_option="basic")
    builder.add_bytes_field("value", stored=True)
    builder.add_bytes_field("where", stored=True)
    return builder.build()


SCHEMA = schema()


def analyzer(pattern: str) -> tantivy.TextAnalyzer:
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(pattern))
    return builder.filter(tantivy.Filter.lowercase()).build()


ANALYZERS = {STANDARD: analyzer(TOKEN), SIMPLE: analyzer(LETTERS)}


def tokens(name: str, text: str) -> list[str]:
    return list(ANALYZERS[name].analyze(text))


def document(where: Where, value: bytes, drawn: Fields) -> tantivy.Document:
    made: dict[str, Any] = {
        "id": where.id,
        "order": order_of(where.time_ms, where.offset),
        "time": sort_time(where.time_ms),
        "partition": where.partition,
        "offset": where.offset,
        "value": value,
        "where": encode_where(where),
    }
    for name in (*COUNTED, *KEYWORDS):
        if words := getattr(drawn, name):
            made[name] = list(words)
    if drawn.text:
        made["text"] = made["words"] = list(drawn.text)
    return tantivy.Document.from_dict(made, SCHEMA)
