"""The embedded index makes the same words of a text as Elasticsearch does (but for a dotted capital İ)."""

from __future__ import annotations

import aiohttp
import pytest

from streams.sinks.index.embedded.schema import SIMPLE, STANDARD, tokens

TEXTS = [
    "connection-refused foo_bar 10.0.0.1:8080 java.net.ConnectException: x it's v1.2 a:b 1,000 a.1 1.a x__y _z_",
    "café 日本語テスト ไทย http://a.b/c?d=e&f run-17_a @x #y 3d4 a'b a\"b ___ _",
    'node1.example.com 1.2.3-rc.1 key=value [ERROR] {"a":1} 2026-11-24T10:00:00.123Z 0x1F',
    "Žluťoučký KŮŇ straße ÇA Ωmega привет мир 안녕하세요 עברית العربية",
    "panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\nmain.main()\n\t/tmp/a.go:7",
    "E1124 08:30:10.123456       1 reflector.go:138] k8s.io/client-go: Failed to watch *v1.Pod: 403",
    '{"level":"info","msg":"done","took_ms":12.5,"path":"/api/v1/items?page=2","user-agent":"curl/8.0"}',
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
async def test_words_are_those_of_elasticsearch(elasticsearch: str, text: str) -> None:
    async with aiohttp.ClientSession() as session:
        for analyzer, ours in (("standard", STANDARD), ("simple", SIMPLE)):
            request = {"analyzer": analyzer, "text": text}
            async with session.post(f"{elasticsearch}/_analyze", json=request) as answer:
                theirs = [each["token"] for each in (await answer.json())["tokens"]]
            assert tokens(ours, text) == theirs, analyzer
