"""The embedded search index: tantivy in the data directory, one writing process, any number of reading ones."""

from streams.sinks.index.embedded.adapter import EmbeddedIndex

__all__ = ["EmbeddedIndex"]
