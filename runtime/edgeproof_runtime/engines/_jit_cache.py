"""Cache of the kernels that TensorRT-RTX compiles on the GPU at its first run."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from edgeproof_runtime.bundle.engine_record import EngineRecord
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.system.files import cache_folder, write_atomically

__all__ = ["JitCache"]

_LOG = logging.getLogger("edgeproof.tensorrt")


class JitCache:
    """Kernels of one plan, kept in the user's cache folder; does nothing for plain TensorRT."""

    def __init__(self, cache: Any, path: Path | None) -> None:
        self._cache = cache
        self._path = path

    @classmethod
    def configure(cls, engine: Any, trt: Any, record: EngineRecord, gpu: str) -> tuple[Self, Any]:
        """Return (cache, runtime configuration) of an engine; the configuration is None without settings.

        Args:
            engine: the deserialised plan.
            trt: TensorRT's module.
            record: record of the plan.
            gpu: what the kernels depend on besides the plan: GPU and driver.
        """
        if not hasattr(engine, "create_runtime_config"):
            return cls(None, None), None
        config = engine.create_runtime_config()
        if not hasattr(config, "create_runtime_cache"):
            return cls(None, None), None
        if hasattr(config, "cuda_graph_strategy"):
            config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        cache = config.create_runtime_cache()
        path = cache_folder() / "tensorrt-rtx" / f"{record.plan_sha256}-{_short(gpu)}.kernels"
        try:
            if path.is_file():
                cache.deserialize(path.read_bytes())
        except OSError as error:
            _LOG.debug("kernel cache not read: %s", error)
        config.set_runtime_cache(cache)
        return cls(cache, path), config

    def save_once(self) -> None:
        """Write the kernels after the first batch, unless an earlier process did."""
        if self._cache is None or self._path is None:
            return
        path, self._path = self._path, None
        try:
            if not path.is_file():
                write_atomically(path, bytes(memoryview(self._cache.serialize())))
        except (InputError, OSError, TypeError) as error:
            _LOG.debug("kernel cache not written: %s", error)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
