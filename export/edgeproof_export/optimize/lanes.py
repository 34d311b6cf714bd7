"""Compute several results at a time, each on one thread, and take them in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(call: Callable[[Item], Result], items: Iterable[Item], lanes: int) -> Generator[Result, None, None]:
    """Yield ``call(item)`` of each item, in order, with as many running at a time as there are lanes.

    Items are read as they are needed. Closing the iterator cancels what has not begun and waits for the rest.

    Args:
        call: computes a result; called in other threads.
        items: the items.
        lanes: calls that run at a time, at least 1.
    """
    pool = ThreadPoolExecutor(lanes, thread_name_prefix="edgeproof-optimize")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(call, item))
            if len(waiting) > lanes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
