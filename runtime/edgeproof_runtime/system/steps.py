"""Log lines of what is done and how long it took: the logger ``edgeproof.steps``, level INFO."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from edgeproof_runtime.system.text import encodable

__all__ = ["STEPS", "step"]

STEPS = logging.getLogger("edgeproof.steps")


def _escape_surrogates(record: logging.LogRecord) -> bool:
    """Make a record that any log file can hold: names may contain bytes that are not UTF-8."""
    record.msg, record.args = encodable(record.getMessage()), ()
    return True


STEPS.addFilter(_escape_surrogates)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Log a step with its duration when it ends; nothing unless the logger's level is INFO or lower.

    Args:
        what: the step in a few words, such as ``load onnxruntime, fp32``.
    """
    if not STEPS.isEnabledFor(logging.INFO):
        yield
        return
    began = time.perf_counter()
    try:
        yield
    except BaseException:
        STEPS.info("%s: failed after %.3f s", what, time.perf_counter() - began)
        raise
    STEPS.info("%s: %.3f s", what, time.perf_counter() - began)
