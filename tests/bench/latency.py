"""From a record's own time to its being found by search, at a steady load on a whole instance.

Records carry the moment they are made and go in by forward with acks; a reader counts what search finds. Taken in
order, the n-th record is searchable when the count reaches n: the distribution is that of the records, to a poll.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from typing import Any

from deploy.demo.forward import ForwardSender
from tests.parts.local import Local, until

TICK_S = 0.1
POLL_S = 0.05
WARM_S = 5.0
NAMESPACE = "latency"
LINE = 'level=info msg="request handled" path=/api/v1/orders/17 status=200 bytes=%d duration=12ms peer=10.0.3.7'


def steady(platform: Local, *, rate: int, seconds: float) -> dict[str, Any]:
    """Percentiles in seconds; the first `WARM_S` are not counted. `rate_sent` tells whether the load was reached."""
    made: list[tuple[float, int]] = []
    seen: list[tuple[float, int]] = []
    over = threading.Event()
    reader = threading.Thread(target=_read, args=(platform, seen, over), daemon=True)
    reader.start()
    began = time.time()
    total = _send(platform, rate, seconds, made)
    lasted = time.time() - began
    until(lambda: platform.count_logs(namespace=NAMESPACE), lambda found: found >= total, within_s=120)
    time.sleep(2 * POLL_S)
    over.set()
    reader.join()
    late = latencies(made, seen, since=began + WARM_S)
    at = {f"p{share}_s": round(late[min(len(late) - 1, len(late) * share // 100)], 2) for share in (50, 95, 99)}
    return {"rate": rate, "rate_sent": round(total / lasted), "seconds": seconds, **at}


def latencies(made: list[tuple[float, int]], seen: list[tuple[float, int]], since: float) -> list[float]:
    """Sorted seconds of each piece made after `since`. Both lists are (time, how many until then), in order."""
    counts = [count for _, count in seen]
    out = []
    for at, count in made:
        place = bisect_right(counts, count - 1)
        if at >= since and place < len(seen):
            out.append(seen[place][0] - at)
    return sorted(out)


def _send(platform: Local, rate: int, seconds: float, made: list[tuple[float, int]]) -> int:
    senders = [ForwardSender(platform.forward, NAMESPACE) for _ in range(2)]
    about = {"namespace_name": NAMESPACE, "pod_name": "steady-0", "container_name": "steady"}
    size, total, began = int(rate * TICK_S), 0, time.time()
    for tick in range(int(seconds / TICK_S)):
        time.sleep(max(0.0, began + tick * TICK_S - time.time()))
        at = time.time()
        records = [(int(at * 1000), {"log": LINE % n, "stream": "stdout", "kubernetes": about}) for n in range(size)]
        total += size
        made.append((at, total))
        senders[tick % 2].send(f"steady-{began}-{tick}", records)
    return total


def _read(platform: Local, seen: list[tuple[float, int]], over: threading.Event) -> None:
    while not over.wait(POLL_S):
        count = platform.count_logs(namespace=NAMESPACE)
        seen.append((time.time(), count))
