"""Memory that was freed, back to the system: glibc keeps what lies between pieces still in use."""

from __future__ import annotations

import ctypes
from collections.abc import Callable


def _trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # another libc
        return None
    return found


_malloc_trim = _trim()


def give_back() -> None:
    """Takes some milliseconds for some hundred megabytes: call it after a peak, not now and then."""
    if _malloc_trim is not None:
        _malloc_trim(0)
