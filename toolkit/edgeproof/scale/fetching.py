"""Fetch encoded images: from a column, from files of this machine, from an object store, from Parquet files."""

from __future__ import annotations

import os
import random
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from edgeproof_runtime.data.images import read_image_file
from edgeproof_runtime.errors import InputError, UnavailableError
from edgeproof_runtime.system.bounds import bound

__all__ = ["fetch", "file_system", "is_address", "patiently"]

T = TypeVar("T")

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://")
_AHEAD = 8  # images of an object store that are requested at a time; they wait for the network, not for a core
_TRIES, _FIRST_WAIT_S = 7, 0.25  # 0.25 s doubled six times: 16 s in all
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_THROTTLED = re.compile(r"slow ?down|throttl|too many requests|service unavailable|\b(?:429|503)\b", re.IGNORECASE)


def is_address(location: str) -> bool:
    """Return whether a location has a scheme, such as ``s3://``."""
    return _ADDRESS.match(location) is not None


def file_system(address: str) -> tuple[Any, str]:
    """Return fsspec's file system of an address, and the address's path in it.

    Raises:
        InputError: the scheme is unknown.
        UnavailableError: fsspec, or its package for the scheme, is not installed.
    """
    try:
        import fsspec
    except ImportError as error:
        raise UnavailableError(
            f"{address}: requires fsspec, which is not installed", fix='pip install "edgeproof[ray]"'
        ) from error
    scheme = address.partition("://")[0]
    try:
        system, path = fsspec.url_to_fs(address)
    except ImportError as error:
        package = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}.get(scheme)
        raise UnavailableError(
            f"{scheme}://: its package for fsspec is not installed",
            got=error,
            fix=None if package is None else f"pip install {package}",
        ) from error
    except ValueError as error:
        raise InputError(
            f"{address}: unknown scheme", got=error, expected="s3://, gs:// or another of fsspec"
        ) from error
    return system, path


def patiently(read: Callable[[], T], what: str) -> T:
    """Call a reader of an object store; wait and repeat while the store throttles or does not answer.

    Raises:
        FileNotFoundError, PermissionError, IsADirectoryError: repeating does not help.
        InputError: the store does not answer within about 16 s.
    """
    wait_s = _FIRST_WAIT_S
    for left in reversed(range(_TRIES)):
        try:
            return read()
        except _FINAL:
            raise
        except Exception as error:  # of the store's own package
            if not isinstance(error, OSError) and not _THROTTLED.search(f"{type(error).__name__} {error}"):
                raise
            if not left:
                raise InputError(
                    f"{what}: the object store refused {_TRIES} requests in a row",
                    got=" ".join(str(error).split())[:200] or type(error).__name__,
                    fix="run the same command again later: it goes on where it stopped",
                ) from error
            time.sleep(wait_s * random.uniform(0.75, 1.25))  # workers must not come back all at once
            wait_s *= 2
    raise AssertionError("unreachable")


def fetch(columns: Mapping[str, Sequence[Any]], groups: dict[tuple[str, int], Any]) -> Iterator[bytes | OSError]:
    """Yield the encoded images of a batch in order, or the error of each.

    Args:
        columns: ``bytes``; or ``location``, else ``path``, of files; or ``location``, ``group``, ``row`` and ``column``
            of Parquet files.
        groups: the row group that was read last, kept between calls.

    Raises:
        InputError: an object store does not answer.
    """
    if "bytes" in columns:
        for value in columns["bytes"]:
            yield _bytes_of(value)
        return
    locations = [os.fsdecode(one) for one in columns.get("location", columns.get("path", ()))]
    if "group" in columns:
        for place in zip(locations, columns["group"], columns["row"], columns["column"], strict=True):
            yield _of_parquet(*place, groups)
        return
    if not any(map(is_address, locations)):
        yield from map(_read, locations)
        return
    with ThreadPoolExecutor(_AHEAD, thread_name_prefix="edgeproof-fetch") as pool:
        following = iter(locations)
        waiting = deque(pool.submit(_read, location) for location in islice(following, _AHEAD))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(_read, location) for location in islice(following, 1))
        finally:
            pool.shutdown(cancel_futures=True)


def _bytes_of(value: Any) -> bytes | OSError:
    if isinstance(value, Mapping):  # a column of images as Hugging Face writes it
        value = value.get("bytes")
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    return OSError("no image in this row")


def _read(location: str) -> bytes | OSError:
    try:
        if not is_address(location):
            return read_image_file(Path(location))
        system, path = file_system(location)
        data = patiently(lambda: _whole(system, path), location)
    except OSError as error:
        return error
    most = bound("image_bytes")
    return data if len(data) <= most else OSError(f"more than {most} bytes")


def _whole(system: Any, path: str) -> bytes:
    with system.open(path, "rb") as file:
        data: bytes = file.read(bound("image_bytes") + 1)
    return data


def _of_parquet(location: str, group: int, row: int, column: str, kept: dict[tuple[str, int], Any]) -> bytes | OSError:
    key = (location, group)
    if key not in kept:
        kept.clear()
        try:
            kept[key] = patiently(lambda: _column(location, group, column), location)
        except _FINAL as error:
            return error
    return _bytes_of(kept[key][row].as_py())


def _column(location: str, group: int, column: str) -> Any:
    import pyarrow.parquet as pq

    if not is_address(location):
        with pq.ParquetFile(location) as file:
            return file.read_row_group(group, columns=[column]).column(0)
    system, path = file_system(location)
    with system.open(path, "rb") as stream, pq.ParquetFile(stream) as file:
        return file.read_row_group(group, columns=[column]).column(0)
