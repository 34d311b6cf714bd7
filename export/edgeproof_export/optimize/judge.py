"""Compute scores and times of a graph on an engine of this machine."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeproof_export.optimize.candidate import Answers, Candidate, filled
from edgeproof_export.optimize.inputs import Advance, Inputs
from edgeproof_export.optimize.lanes import in_order
from edgeproof_export.optimize.work import version_of
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines import Engine
from edgeproof_runtime.engines.onnxruntime import session_options
from edgeproof_runtime.measure import Interval, Plan, measure
from edgeproof_runtime.system.host import usable_cores

__all__ = ["Judge", "Speed"]

# One image of 224x224 at a time is twice as fast as 32: the activations stay in the CPU's cache.
_BATCH, _BATCH_BYTES = 32, 2**20
_LOOK = 100
_LANES_BYTES = 2**31  # a variant's weights are held about four times: graph, tail, bytes, session
_PLAN = Plan(turns=16, duration_s=5.0, block_ms=20.0, min_runs=3, warm_up_s=0.3, untimed_ms=10.0)


@dataclass(frozen=True, slots=True)
class Speed:
    """Times of a graph and fp32 in interleaved rounds.

    Attributes:
        engine: engine of both.
        fp32_ms, latency_ms: median over the rounds of each round's fastest run, ms.
        speedup: fp32's time over the graph's, with interval.
    """

    engine: str
    fp32_ms: float
    latency_ms: float
    speedup: Interval

    @property
    def sentence(self) -> str:
        """Return the times as text; under host load the medians may differ from the speed-up within rounds."""
        times = f"{self.latency_ms:.2f} ms against {self.fp32_ms:.2f} ms"
        return f"{self.speedup.estimate:.2f}x in interleaved rounds, medians {times}, on {self.engine}"


@dataclass(frozen=True, slots=True)
class Judge:
    """Run graphs of one bundle on one engine.

    Attributes:
        bundle: bundle of the graphs.
        engine: name of the engine.
        threads: CPU threads of the engine; None lets the engine choose.
        folder: folder for graph files that the engine loads.
        output: position of the scores among the outputs.
        as_written: run graphs in ONNX Runtime without int8 kernels; requires the engine ``onnxruntime``.
        answers: computes scores elsewhere; None for this process. Times are always measured here.
    """

    bundle: Bundle
    engine: str
    threads: int | None
    folder: Path
    as_written: bool = False
    output: int = 0
    answers: Answers | None = None

    def by_arithmetic(self) -> Judge:
        """Return a judge for graphs of another device, which computes Q/DQ in float32 as the graph states.

        CPU engines fuse signed Q/DQ pairs into int8 kernels. Without VNNI these add pairs of products in int16,
        which saturates; TensorRT adds in int32. The outputs would then depend on this CPU.
        """
        return replace(self, engine="onnxruntime", as_written=True)

    @property
    def key(self) -> tuple[str, ...]:
        """Return what outputs depend on besides graph, images and machine: engine, version, mode."""
        return self.engine, version_of(self.engine), *(["as written"] if self.as_written else [])

    def scores(
        self,
        model: onnx.ModelProto,
        inputs: Inputs,
        advance: Advance,
        enough: Callable[[NDArray[np.float32]], bool] = lambda _found: False,
    ) -> NDArray[np.float32]:
        """Compute the scores of every image, ``N x C``.

        Args:
            model: graph.
            inputs: images.
            advance: called with (done, total).
            enough: called every 100 images with the scores so far; True ends the run with these.

        Raises:
            InputError: the engine cannot load or run the graph.
        """
        size = self.batch_size(inputs)
        found: list[NDArray[np.float32]] = []
        done, looked = 0, 0
        with closing(self._scores(self._candidate(model, size), inputs, size)) as results:
            for scores in results:
                found.append(scores)
                done += len(scores)
                advance(done, len(inputs))
                if done - looked >= _LOOK and done < len(inputs):
                    looked = done
                    if enough(np.concatenate(found)):
                        advance(len(inputs), len(inputs))
                        break
        return np.concatenate(found)

    def _scores(self, candidate: Candidate, inputs: Inputs, size: int) -> Generator[NDArray[np.float32], None, None]:
        """Yield the scores of each batch, in order."""
        if self.answers is not None:
            yield from self.answers(candidate, inputs.batches(size))
            return
        with candidate.load(self.folder / "answers.onnx") as engine:
            run = partial(candidate.scores, engine)
            with closing(in_order(run, inputs.batches(size), self.cores if self.as_written else 1)) as results:
                yield from results

    @property
    def output_name(self) -> str:
        """Name of the scores among the outputs."""
        return self.bundle.artifact("fp32").outputs[self.output].name

    @property
    def cores(self) -> int:
        """Threads that compute graphs as they state, one batch each: Q/DQ pairs hardly gain from several threads."""
        return self.threads or usable_cores()

    def lanes(self, model: onnx.ModelProto) -> int:
        """Return how many variants of a graph may run side by side, for the memory that their weights take."""
        size: int = model.ByteSize()
        return max(1, min(self.cores, _LANES_BYTES // (4 * max(1, size))))

    def session(self, model: onnx.ModelProto, threads: int) -> Any:
        """Return an ONNX Runtime session that computes a graph of any inputs as it states."""
        import onnxruntime as ort

        options = session_options(threads, int8_kernels=False)
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def batch_size(self, inputs: Inputs) -> int:
        """Return how many images run at a time."""
        bounds = self.bundle.contract.batch
        return min(max(bounds.min, min(_BATCH, _BATCH_BYTES // max(1, inputs.image_bytes))), bounds.max)

    def filled(self, batch: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return the batch with its last image repeated until it has as many as the model takes."""
        return filled(batch, self.bundle.contract.batch.min)

    def speed(self, fp32: onnx.ModelProto, other: onnx.ModelProto, precision: str) -> Speed:
        """Time the smallest batch on both graphs in interleaved rounds, which exposes both to the same host load."""
        n = self.bundle.contract.batch.min
        with self.load(fp32, "timed-fp32", n) as one, self.load(other, "timed-other", n, precision) as two:
            calls: dict[str, Callable[[], object]] = {
                name: partial(engine.run, engine.allocate_input(n)) for name, engine in (("fp32", one), ("other", two))
            }
            timings = measure(calls, _PLAN)
        ratio = timings["fp32"].ratio_to(timings["other"])
        return Speed(self.engine, timings["fp32"].typical_ms, timings["other"].typical_ms, ratio)

    def load(self, model: onnx.ModelProto, name: str, max_batch: int, precision: str = "fp32") -> Engine:
        """Load a graph. Pass ``precision`` for fp16; int8 is recognised from the graph.

        Raises:
            InputError: the engine cannot load the graph.
        """
        return self._candidate(model, max_batch, precision).load(self.folder / f"{name}.onnx")

    def _candidate(self, model: onnx.ModelProto, max_batch: int, precision: str = "fp32") -> Candidate:
        return Candidate(
            content=model.SerializeToString(),
            artifact=replace(self.bundle.artifact("fp32", max_batch=max_batch), precision=precision),
            engine=self.engine,
            threads=self.threads,
            as_written=self.as_written,
            output=self.output,
            fewest=self.bundle.contract.batch.min,
        )
