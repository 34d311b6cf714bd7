"""Engines that harm the process which loads or runs a model on them, and models on which OpenCV 5.0.0.93 crashes."""

from __future__ import annotations

import os
import signal
import time
from typing import ClassVar

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeproof_runtime.bundle.artifact import ModelArtifact, Tensor
from edgeproof_runtime.engines import Engine, EngineInfo, Unavailable
from edgeproof_runtime.engines.catalog import CatalogEntry
from edgeproof_runtime.engines.onnxruntime import OnnxRuntimeEngine

__all__ = ["entry_of", "gelu_onnx", "masked_onnx"]

_SAFE = "EDGEPROOF_TEST_PARENT"
"""Names the process that must never run a faulty engine: the one that registers it."""


def entry_of(kind: str) -> CatalogEntry:
    """Catalogue entry of one of the engines below, by name.

    The process that calls it fails if it runs the engine itself, except for ``wrong``.
    """
    os.environ[_SAFE] = str(os.getpid())
    name = "".join(part.title() for part in kind.split("-"))
    return CatalogEntry(
        name=kind,
        implementation=f"faulty_engines:{name}Engine",
        distributions=("pytest",),
        device="cpu",
        precisions=("fp32",),
    )


class _Faulty(Engine):
    kind: ClassVar[str]
    from_batch: ClassVar[int] = 1

    def __init__(self, artifact: ModelArtifact, *, threads: int | None = None) -> None:
        super().__init__(artifact, threads=threads)

    @classmethod
    def unavailable_reason(cls) -> Unavailable | None:
        return None

    def describe(self) -> EngineInfo:
        return EngineInfo(self.name, "1", "CPU", self.artifact.precision)

    def _run(self, batch: Tensor) -> tuple[Tensor, ...]:
        if len(batch) >= self.from_batch:
            # A child that an earlier test started has no such variable.
            assert os.environ.get(_SAFE) != str(os.getpid()), "a faulty engine runs in the process under test"
            self._harm()
        return tuple(np.zeros((len(batch), *spec.shape), np.float32) for spec in self.artifact.outputs)

    def _harm(self) -> None:
        raise NotImplementedError


class CrashEngine(_Faulty):
    name = "crash"

    def _harm(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)


class AbortEngine(_Faulty):
    name = "abort"

    def _harm(self) -> None:
        os.abort()


class DivideEngine(_Faulty):
    name = "divide"

    def _harm(self) -> None:
        os.kill(os.getpid(), signal.SIGFPE)


class LeaveEngine(_Faulty):
    name = "leave"

    def _harm(self) -> None:
        print("a library prints", flush=True)  # it must not disturb the messages
        os._exit(3)


class HangEngine(_Faulty):
    name = "hang"

    def _harm(self) -> None:
        time.sleep(600)


class MemoryEngine(_Faulty):
    name = "memory"

    def _harm(self) -> None:
        held = [np.ones(64 << 20, np.uint8) for _ in range(40)]
        time.sleep(len(held) / 40)


class CrashOnTwoEngine(CrashEngine):
    name = "crash-on-two"
    from_batch = 2


class WrongEngine(OnnxRuntimeEngine):
    """Computes 1 % too much."""

    name = "wrong"

    def _run(self, batch: Tensor) -> tuple[Tensor, ...]:
        return tuple((output * 1.01).astype(np.float32) for output in super()._run(batch))

    def describe(self) -> EngineInfo:
        return EngineInfo(self.name, os.environ.get("EDGEPROOF_TEST_VERSION", "1"), "CPU", self.artifact.precision)


def gelu_onnx(classes: int = 5) -> onnx.ModelProto:
    """Convolution and an exact GELU, as PyTorch's exporter writes it: Div, Erf, Add, Mul, Mul."""
    rng = np.random.default_rng(0)
    values = {
        "conv": rng.normal(0, 0.4, (8, 3, 3, 3)),
        "fc": rng.normal(0, 2.0, (8, classes)),
        "root": np.sqrt(2.0),
        "one": 1.0,
        "half": 0.5,
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "conv"], ["x"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("Div", ["x", "root"], ["divided"]),
            helper.make_node("Erf", ["divided"], ["erf"]),
            helper.make_node("Add", ["erf", "one"], ["added"]),
            helper.make_node("Mul", ["half", "added"], ["gate"]),
            helper.make_node("Mul", ["x", "gate"], ["gelu"]),
            helper.make_node("GlobalAveragePool", ["gelu"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "fc"], ["logits"]),
        ],
        "gelu",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def masked_onnx(classes: int = 5) -> onnx.ModelProto:
    """``x[x > 0.1].mean()`` beside a linear layer: OpenCV 5.0.0.93 divides by zero."""
    rng = np.random.default_rng(0)
    values = {"limit": np.array(0.1), "fc": rng.normal(0, 2.0, (3, classes))}
    graph = helper.make_graph(
        [
            helper.make_node("Greater", ["input", "limit"], ["above"]),
            helper.make_node("NonZero", ["above"], ["positions"]),
            helper.make_node("Transpose", ["positions"], ["indices"], perm=[1, 0]),
            helper.make_node("GatherND", ["input", "indices"], ["chosen"]),
            helper.make_node("ReduceMean", ["chosen"], ["kept"], keepdims=1),
            helper.make_node("Squeeze", ["kept"], ["mean"]),
            helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "fc"], ["linear"]),
            helper.make_node("Add", ["linear", "mean"], ["logits"]),
        ],
        "masked",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
