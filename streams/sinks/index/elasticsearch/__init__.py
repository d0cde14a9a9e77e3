"""The production search index: Elasticsearch 8 or 9, by what every build of it has (dated indices, templates)."""

from streams.sinks.index.elasticsearch.adapter import ElasticsearchIndex

__all__ = ["ElasticsearchIndex"]
