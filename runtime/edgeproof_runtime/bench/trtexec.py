"""Import the times of ``trtexec --exportTimes`` as a benchmark's record."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeproof_runtime.bench.record import BenchRecord, Measured
from edgeproof_runtime.bench.systems import Configuration
from edgeproof_runtime.engines import EngineInfo
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.measure import Block, Timing, WarmUp
from edgeproof_runtime.metrics.latency import summarize
from edgeproof_runtime.system.documents import read_document

__all__ = ["read_trtexec"]

# TensorRT 8.0 and earlier wrote in/out for h2d/d2h, without enqueue times.
_OLD_NAMES = {"startInMs": "startH2dMs", "inMs": "h2dMs", "outMs": "d2hMs", "endOutMs": "endD2hMs"}
_NEEDED = ("startH2dMs", "endD2hMs", "h2dMs", "computeMs", "d2hMs", "latencyMs")
_BLOCKS = 50


def read_trtexec(path: Path) -> tuple[BenchRecord, list[str]]:
    """Read the times, with notes on what they include.

    A query's latency is trtexec's host latency, H2D + compute + D2H. Throughput is the number of queries over the time
    from the first start to the last end; trtexec enqueues one query ahead, so it exceeds the reciprocal of latency.

    Args:
        path: JSON file: a list with one object per query.

    Returns:
        A record without null engine and reference engines, and notes for the report.

    Raises:
        InputError: not a file of ``trtexec --exportTimes``.
    """
    queries = _queries(path)
    latency_ms = np.array([query["latencyMs"] for query in queries])
    parts = np.array_split(np.arange(len(queries)), min(_BLOCKS, len(queries)))
    blocks = tuple(_block([queries[i] for i in part]) for part in parts)
    device_ms = {
        "h2d": summarize([query["h2dMs"] for query in queries]),
        "compute": summarize([query["computeMs"] for query in queries]),
        "d2h": summarize([query["d2hMs"] for query in queries]),
        "latency": summarize(latency_ms),
    }
    if all("startEnqMs" in query for query in queries):
        device_ms = {"enqueue": summarize([q["endEnqMs"] - q["startEnqMs"] for q in queries]), **device_ms}
    measured = Measured(
        configuration=Configuration("trtexec", "as built"),
        info=EngineInfo("trtexec", "not in the file", "not in the file", "as built"),
        timing=Timing(path.name, blocks, WarmUp(0, 0.0, False)),
        device_ms=device_ms,
    )
    record = BenchRecord(
        scenario="trtexec",
        driver="trtexec",
        settings={"queries": len(queries)},
        measured=[measured],
        null=None,
        yardsticks=(),
        conditions={},
        power={"available": False, "source": None, "covers": None, "reason": "not in trtexec's file"},
        front=[measured.name],
    )
    return record, _notes(queries)


def _queries(path: Path) -> list[dict[str, float]]:
    raw = read_document(path, expected="a file of trtexec --exportTimes=FILE")
    if not isinstance(raw, list) or not raw:
        raise InputError(
            f"{path}: no queries",
            got=type(raw).__name__,
            expected="a list with one object per query",
            fix="trtexec --loadEngine=model.plan --exportTimes=times.json",
        )
    return [_query(path, number, entry) for number, entry in enumerate(raw)]


def _query(path: Path, number: int, entry: Any) -> dict[str, float]:
    if not isinstance(entry, Mapping):
        raise InputError(f"{path}: query {number} is not an object", got=type(entry).__name__)
    query = {_OLD_NAMES.get(str(name), str(name)): value for name, value in entry.items()}
    missing = [name for name in _NEEDED if name not in query]
    if missing:
        profile = " (this looks like a file of --exportProfile, with times of layers)" if "timeMs" in query else ""
        raise InputError(
            f"{path}: query {number} has no {', '.join(missing)}{profile}", fix="write it with trtexec --exportTimes"
        )
    for name, value in query.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            raise InputError(f"{path}: query {number}: {name} is not a time", got=value)
    if min(query[name] for name in ("h2dMs", "computeMs", "d2hMs", "latencyMs")) < 0:
        raise InputError(f"{path}: query {number} has a negative time")
    return query


def _block(queries: Sequence[dict[str, float]]) -> Block:
    begin, end = queries[0]["startH2dMs"], queries[-1]["endD2hMs"]
    values_ms = np.array([query["latencyMs"] for query in queries])
    elapsed_ms = end - begin if end > begin else float(values_ms.sum())
    return Block(values_ms, len(queries), elapsed_ms / 1e3, math.nan, begin / 1e3)


def _notes(queries: Sequence[Mapping[str, float]]) -> list[str]:
    notes = [
        "Imported from trtexec, which times random inputs and does not check outputs: correctness was not verified. "
        "Use `edgeproof verify` or `edgeproof bench`."
    ]
    if all(query["h2dMs"] == query["d2hMs"] == 0 for query in queries):
        notes.append(
            "These latencies exclude copies to and from the GPU, which a deployed model needs. trtexec 11.0 and later "
            "includes them with --includeDataTransfers, earlier versions without --noDataTransfers."
        )
    notes.append(
        "trtexec 11.0 and later uses CUDA graphs and spin waiting by default, earlier versions with --useCudaGraph and "
        "--useSpinWait: compare only times of the same kind."
    )
    return notes
