"""Reading an answer that holds what Elasticsearch takes for JSON and JSON's decoders do not. Pure.

It stores a document's bytes unread where nothing is mapped: comments, halves of surrogate pairs, bytes that are not
UTF-8, nesting a thousand deep. One such document must not keep all others of its page from being found.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

MAX_DEPTH = 100
"""What is nested deeper is shown as text."""
_DEEP = 10_000
_OUTSIDE = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_HALF = re.compile("[\ud800-\udfff]")


def read(data: bytes) -> Any:
    """The decoded answer. Raises ValueError when it is no JSON even so."""
    text = _OUTSIDE.sub(lambda match: match[1] or " ", data.decode("utf-8", "replace"))
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(_DEEP)
    try:
        return _plain(json.loads(text, strict=False, parse_constant=str), 0)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    finally:
        sys.setrecursionlimit(before)


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _HALF.sub("\ufffd", value)
    if not isinstance(value, (dict, list)):
        return value
    if depth == MAX_DEPTH:
        return _HALF.sub("\ufffd", json.dumps(value))
    if isinstance(value, list):
        return [_plain(each, depth + 1) for each in value]
    return {_HALF.sub("\ufffd", key): _plain(each, depth + 1) for key, each in value.items()}
