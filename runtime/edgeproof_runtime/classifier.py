"""Classify frames in one call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from edgeproof_runtime.bundle.artifact import Tensor, TensorSpec
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.contract import Color
from edgeproof_runtime.contract.preprocess import USEFUL_THREADS, Preprocessor
from edgeproof_runtime.data.given import FrameLike, as_frame, shown_again
from edgeproof_runtime.engines.base import Engine
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.system.boundary import bounded
from edgeproof_runtime.system.bounds import require_parallel
from edgeproof_runtime.system.compat import Self
from edgeproof_runtime.system.host import usable_cores
from edgeproof_runtime.tasks.classify import Prediction, classify_head

if TYPE_CHECKING:
    from edgeproof_runtime.sources import Frame, Source, SourceOptions

__all__ = ["Classifier", "Seen"]


class Seen(NamedTuple):
    """A frame of a source and its prediction.

    Attributes:
        frame: the frame; its ``image`` is BGR uint8 ``HxWx3``.
        prediction: what it shows.
    """

    frame: Frame
    prediction: Prediction


class Classifier:
    """A bundle, ready to classify frames. Not thread-safe: use one per thread.

    Args:
        bundle: path of a ``.edge`` folder, or an opened bundle.
        engine: name of an engine, or ``auto`` for the fastest that passes the golden cases on this machine.
        precision: ``fp32``, ``fp16`` or ``int8``, or ``auto`` for the bundle's fastest on this machine.
        threads: CPU threads; None for the engine's default, or the fastest if measured.
        trust: with the path of a bundle, as for `Bundle.open`: whose signature it must have.
        batch: frames of a list that are computed at a time; None for the fewest that the model takes. GPUs gain from
            more; CPUs seldom do.

    Raises:
        BundleError: the bundle is damaged.
        InputError: the bundle's task is not ``classify``, or it does not take such a batch.
        UnavailableError: the engine is not available on this machine.
    """

    @bounded
    def __init__(
        self,
        bundle: str | Path | Bundle,
        engine: str = "auto",
        precision: str = "auto",
        *,
        threads: int | None = None,
        batch: int | None = None,
        trust: str | Path | None = None,
    ) -> None:
        self.bundle: Bundle = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle, trust=trust)
        self._head = classify_head(self.bundle)
        bounds = self.bundle.contract.batch
        batch = bounds.min if batch is None else batch
        if not bounds.min <= batch <= bounds.max:
            raise InputError("batch: outside the model's bounds", got=batch, expected=f"{bounds.min}..{bounds.max}")
        self.engine: Engine = load_engine(self.bundle, engine, precision, max_batch=batch, threads=threads)
        # Nothing else of this object runs at the same time.
        require_parallel(threads, "threads")
        self._preprocess = Preprocessor(self.bundle.contract, threads=min(threads or usable_cores(), USEFUL_THREADS))
        self._input = self.engine.allocate_input(batch)
        self._slots = list(self._input)
        self._features: Engine | None = None

    @overload
    def __call__(
        self, frame: list[FrameLike] | tuple[FrameLike, ...] | Iterator[FrameLike], *, color: Color = "bgr"
    ) -> list[Prediction]: ...

    @overload
    def __call__(self, frame: FrameLike, *, color: Color = "bgr") -> Prediction: ...

    def __call__(
        self, frame: FrameLike | list[FrameLike] | tuple[FrameLike, ...] | Iterator[FrameLike], *, color: Color = "bgr"
    ) -> Prediction | list[Prediction]:
        """Classify a frame, or several.

        A frame is an array, the path of an image file, the bytes of one, a PIL image, or a tensor on the CPU. Files are
        read as `run` reads them, turned by their EXIF orientation; a PIL image is taken as it is.

        Args:
            frame: array or tensor: uint8 ``HxWx3`` in the order ``color`` (OpenCV's is ``bgr``), or ``HxW`` gray; for a
                model of many channels ``HxWxC`` of the contract's ``frame_dtype``. A list, a tuple or an iterator holds
                any number of frames of any kind.
            color: channel order of three-channel arrays and tensors. Files and PIL images know their own.

        Returns:
            One prediction, or a list of them in the order of the frames.

        Raises:
            FrameError: the frame's dtype or shape is unsupported.
            SourceError: a file is missing, damaged or not an image.
        """
        if not isinstance(frame, np.ndarray) and isinstance(frame, list | tuple | Iterator):
            return list(self._several(frame, color))
        self._put(frame, 0, color)
        return self._head(self._run(1), shown_again(frame, self.bundle.contract, color))

    @bounded
    def features(
        self, frame: FrameLike | list[FrameLike] | tuple[FrameLike, ...] | Iterator[FrameLike], *, color: Color = "bgr"
    ) -> NDArray[np.float32]:
        """Compute what the model's last linear layer reads, for search, clustering or drift: a vector per frame.

        The first call loads the model a second time, with this value as an output.

        Args:
            frame: a frame, or several, as for a call.
            color: channel order of three-channel arrays and tensors.

        Returns:
            ``D`` values of one frame; of several ``N x D``, in their order.

        Raises:
            FrameError: the frame's dtype or shape is unsupported.
            InputError: the graph does not end in one linear layer, or the engine gives no intermediate values.
            SourceError: a file is missing, damaged or not an image.
        """
        if self._features is None:
            self._features = self._load_features()
        if not isinstance(frame, np.ndarray) and isinstance(frame, list | tuple | Iterator):
            found = [self._features_of(one, color, self._features) for one in frame]
            return np.stack(found) if found else np.empty((0, 0), np.float32)
        return self._features_of(frame, color, self._features)

    def _features_of(self, frame: FrameLike, color: Color, engine: Engine) -> NDArray[np.float32]:
        self._put(frame, 0, color)
        outputs = engine.run(self._input[: self.bundle.contract.batch.min])
        return np.asarray(outputs[-1][0], np.float32).ravel()

    def _load_features(self) -> Engine:
        from edgeproof_runtime.engines import catalog, load  # where features are asked for

        name = self.engine.name
        if not catalog.find(name).intermediate_values:
            known = [entry.name for entry in catalog.offered() if entry.intermediate_values]
            raise InputError(
                "features: the engine gives no intermediate values",
                got=name,
                expected=" or ".join(known),
                fix='Classifier(bundle, "onnxruntime")',
            )
        artifact = replace(self.engine.artifact, blob=None)
        value = artifact.graph().before_last_layer(artifact.outputs[0].name)
        if value is None:
            raise InputError(
                f"{self.bundle.name}: its graph does not end in one linear layer, so it has no features",
                got=f"output {artifact.outputs[0].name}",
                expected="Gemm, MatMul or Conv before the output",
            )
        try:
            return load(name, artifact.tapped([TensorSpec(value, (), "")]), threads=self.engine.threads)
        except InputError as error:  # OpenCV takes no output of unknown shape
            raise InputError(
                f"features: engine {name} does not load the model with a further output",
                got=error.what,
                fix='Classifier(bundle, "onnxruntime")',
            ) from error

    @bounded
    def stream(self, source: str | Path, *, options: SourceOptions | None = None) -> Iterator[Seen]:
        """Classify the frames of a source one after the other, without dropping any.

        Frames that the decoder reports as damaged are left out. A live camera that is slower than the model sets the
        pace; for cameras that fail, several streams, events and recordings use `edgeproof.run`.

        Args:
            source: an image, a folder, a glob, a video, a camera or an address, as for ``edgeproof run --source``.
            options: options of the source, such as a resolution.

        Yields:
            Each frame with its prediction.

        Raises:
            SourceError: the source cannot be opened.
        """
        from edgeproof_runtime.data.bands import bands_of  # not loaded for frames that are arrays
        from edgeproof_runtime.sources import open_source

        return self._seen(open_source(str(source), options=options, bands=bands_of(self.bundle.contract)))

    def _seen(self, opened: Source) -> Iterator[Seen]:
        with opened:
            for frame in opened:
                if frame.damage is None:
                    yield Seen(frame, self(frame.image))

    def _several(self, frames: Iterable[FrameLike], color: Color) -> Iterator[Prediction]:
        left = iter(frames)
        while some := list(islice(left, len(self._slots))):
            for place, frame in enumerate(some):
                self._put(frame, place, color)
            outputs = self._run(len(some))
            yield from (self._head(tuple(each[place : place + 1] for each in outputs)) for place in range(len(some)))

    def _put(self, frame: FrameLike, place: int, color: Color) -> None:
        """Preprocess a frame into a place of the input batch."""
        image, order = as_frame(frame, self.bundle.contract, color)
        self._preprocess(image, out=self._slots[place], color=order)

    def _run(self, count: int) -> tuple[Tensor, ...]:
        """Run the first frames of the input batch, and as many more as the model takes at least."""
        return self.engine.run(self._input[: max(count, self.bundle.contract.batch.min)])

    def __repr__(self) -> str:
        engine = self.engine.describe()
        threads = "" if engine.threads is None else f", threads {engine.threads}"
        on = f"{engine.name} {engine.version}, {engine.precision} on {engine.device}{threads}"
        return f"Classifier({self.bundle.name}: {self.bundle.facts()['task']}; {on})"

    def close(self) -> None:
        """Release the engine."""
        self.engine.close()
        if self._features is not None:
            self._features.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
