"""Write what is left of a day into an index of its own, so that what was deleted of it takes no disk any more:
`python -m streams.sinks.index.embedded.rewrite KIND FROM TO`. A process by itself, for it takes a core while it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tantivy
from tantivy import Order

from streams.sinks.index import fields
from streams.sinks.index.embedded.compiled import between
from streams.sinks.index.embedded.schema import decode_where, document
from streams.sinks.index.embedded.store import opened
from streams.sinks.index.port import Kind

HEAP_BYTES = 32_000_000
STEP = 2_000
LAST = (1 << 64) - 1


def rewrite(kind: Kind, source: Path, target: Path) -> int:
    """Returns how many documents were written."""
    old, new = opened(source, create=False), opened(target, create=True)
    if old is None or new is None:
        return 0
    old.reload()
    writer, count = new.writer(HEAP_BYTES, 1), 0
    for stored in _all(old.searcher()):
        value = stored.get_first("value")
        record = fields.decode(value)
        writer.add_document(document(decode_where(stored.get_first("where")), value, fields.draw(kind, record)))
        count += 1
    writer.commit()
    writer.wait_merging_threads()
    return count


def _all(searcher: tantivy.Searcher) -> Iterator[Any]:
    """Every document, in order; those of one and the same sort number are asked for together."""
    after, size = 0, STEP
    while True:
        wanted = between("order", after, LAST)
        found = searcher.search(wanted, size, False, order_by_field="order", order=Order.Asc).hits
        numbers: list[Any] = [number for number, _ in found]
        if len(found) < size:
            yield from (searcher.doc(address) for _, address in found)
            return
        if numbers[0] == numbers[-1]:
            size *= 2  # more of one number than a step holds
            continue
        yield from (searcher.doc(address) for number, address in found if number != numbers[-1])
        after, size = numbers[-1], STEP


def main(arguments: list[str]) -> int:
    kind, source, target = arguments
    rewrite(Kind(kind), Path(source), Path(target))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
