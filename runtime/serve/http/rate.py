"""How many uploads one address may send."""

import time
from collections import OrderedDict

from sa.runtime.serve.http.problems import ApiError

ADDRESSES = 10_000  # remembered; the one that was silent longest is forgotten


class Rate:
    """A bucket for each address, which fills by `posts` a minute and holds a minute's."""

    def __init__(self, posts: int):
        self._posts = posts
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # when it was looked at, and its level

    def take(self, address: str, now: float | None = None) -> None:
        """ApiError if the address sent too much of late."""
        now = time.monotonic() if now is None else now
        earlier, level = self._buckets.pop(address, (now, float(self._posts)))
        level = min(level + (now - earlier) * self._posts / 60, float(self._posts))
        allowed = level >= 1
        self._buckets[address] = now, level - allowed
        if len(self._buckets) > ADDRESSES:
            self._buckets.popitem(last=False)
        if not allowed:
            wait = max(round((1 - level) * 60 / self._posts), 1)
            message = f"more than {self._posts} uploads a minute came from your address: wait {wait} s."
            raise ApiError(429, "rate_limited", message, headers={"Retry-After": str(wait)})
