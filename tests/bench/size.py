"""Bytes a record on disk: `python -m tests.bench.size [--records N] [--elasticsearch URL]`.

The same realistic records go into each index; what is told is what their files take when writing is over, beside what
the records themselves take as JSON, and for the embedded index, which files.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from uuid import uuid4

from streams.archive.archiver import Archiver
from streams.archive.store import FolderStore
from streams.batch import Batch, batch_of
from streams.record import Record
from streams.settings import Index as IndexSettings
from streams.settings import Settings
from streams.sinks.index.elasticsearch import ElasticsearchIndex
from streams.sinks.index.port import Kind, open_index
from tests.bench.records import records

STEP = 5_000
TOPIC_ID = "lNJY9cRdQfuzLpO7QJmzkA"


class Line(NamedTuple):
    what: str
    nbytes: int


def batches(count: int) -> Iterator[Batch]:
    source = (Record("logs", 0, n, key, value, time) for n, (key, value, time) in enumerate(records(count)))
    while part := list(itertools.islice(source, STEP)):
        yield batch_of(part, topic_id=TOPIC_ID)


def by_ending(folder: Path) -> Counter[str]:
    """Bytes of the files below a folder, by the ending of their names."""
    out: Counter[str] = Counter()
    for file in folder.rglob("*"):
        if file.is_file():
            out[file.suffix.lstrip(".") or file.name] += file.stat().st_size
    return out


async def embedded(count: int) -> list[Line]:
    with TemporaryDirectory() as folder:
        index = open_index(Settings(data_dir=folder, index=IndexSettings(commit_interval_s=0.01)), writer=True)
        await index.open()
        for batch in batches(count):
            await index.write(Kind.LOGS, batch)
        await index.close()
        sizes = by_ending(Path(folder))
    whole = Line("embedded index", sizes.total())
    return [whole, *(Line(f"  .{name}", nbytes) for name, nbytes in sizes.most_common() if nbytes >= count)]


async def elasticsearch(count: int, url: str) -> list[Line]:
    settings = IndexSettings(url=url, prefix=f"size{uuid4().hex[:8]}")
    index = ElasticsearchIndex(settings)
    await index.open()
    for batch in batches(count):
        await index.write(Kind.LOGS, batch)
    client = index.client
    await client.request("POST", f"/{settings.prefix}-*/_forcemerge", max_num_segments="1")
    await client.request("POST", f"/{settings.prefix}-*/_flush")
    parts = await index.stored()
    for part in parts:
        await index.remove(part)
    await index.drop_templates()
    await index.close()
    return [Line("Elasticsearch, merged", sum(part.nbytes for part in parts))]


async def archive(count: int) -> list[Line]:
    with TemporaryDirectory() as folder:
        archiver = Archiver(FolderStore(Path(folder)))
        for batch in batches(count):
            await archiver.write(batch)
        total = by_ending(Path(folder)).total()
    return [Line("archive", total)]


def table(lines: Iterable[Line], count: int, raw: int) -> str:
    out = [f"{count:,} records", f"{'':24} {'bytes a record':>14} {'of the JSON':>12}"]
    for what, nbytes in (Line("the records as JSON", raw), *lines):
        out.append(f"{what:24} {nbytes / count:14.1f} {nbytes / raw:11.0%}")
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser("tests.bench.size")
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--elasticsearch", default="", help="URL of one to measure too")
    arguments = parser.parse_args()
    count: int = arguments.records
    raw = sum(len(value) for _, value, _ in records(count))
    lines = asyncio.run(_measured(count, arguments.elasticsearch))
    print(table(lines, count, raw))


async def _measured(count: int, url: str) -> list[Line]:
    lines = await embedded(count)
    if url:
        lines += await elasticsearch(count, url)
    return lines + await archive(count)


if __name__ == "__main__":
    main()
