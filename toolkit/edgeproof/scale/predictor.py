"""A bundle as a picklable callable for workers of Ray Data, Spark and others: encoded images in, rows out."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeproof.scale.fetching import fetch
from edgeproof_runtime.bundle.artifact import Tensor
from edgeproof_runtime.bundle.golden import load_golden
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.contract.preprocess import Preprocessor
from edgeproof_runtime.data.bands import bands_of, reading
from edgeproof_runtime.data.images import picture_size, reason_of
from edgeproof_runtime.data.store import EncodedStore, Traits
from edgeproof_runtime.engines import Engine
from edgeproof_runtime.errors import BundleError, EdgeproofError, FrameError, GateError, SourceError
from edgeproof_runtime.selection.auto import load_engine
from edgeproof_runtime.system.telemetry import switch_off_telemetry
from edgeproof_runtime.system.text import encodable
from edgeproof_runtime.tasks.decision import Decision
from edgeproof_runtime.tasks.record import Head
from edgeproof_runtime.tasks.registry import head_of
from edgeproof_runtime.verify.golden import frame_gates, output_gate

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["COLUMNS", "Computed", "Predictor"]

COLUMNS = (
    "sha256",
    "label",
    "probability",
    "margin",
    "score",
    "top5_labels",
    "top5_probabilities",
    "engine",
    "bundle",
    "error",
)
"""What a predictor adds to each row."""

_READ = ("bytes", "location", "group", "row", "column")  # columns that only say where an image is
_TOP = 5
_LARGE_PIXELS = 1 << 24
_one_large_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class Computed:
    """What a worker computed of one image.

    Attributes:
        sha256: of the encoded image, hex; None if it could not be read.
        traits: what its header says.
        outputs: the model's outputs, ``1 x ...`` each; None for an image that could not be read.
        error: why it could not be read, in one clause; None if it could.
        preprocess_ms: decoding is not part of it.
        inference_ms: time of the inference, divided by the images in it.
    """

    sha256: str | None
    traits: Traits
    outputs: tuple[Tensor, ...] | None
    error: str | None
    preprocess_ms: float = 0.0
    inference_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class _Opened:
    bundle: Bundle
    engine: Engine
    engine_text: str
    preprocess: Preprocessor
    buffer: Tensor
    head: Head


class Predictor:
    """Predict batches of encoded images. It can be pickled, and opens its bundle where the first batch arrives.

    There it replays the bundle's golden cases with the engine that it then uses. Not thread-safe: use one per thread.

    Args:
        bundle: path of a bundle, which every worker must be able to read.
        engine: name of an engine, or ``auto`` for the fastest that passes the golden cases on the worker's machine.
        precision: ``fp32``, ``fp16`` or ``int8``, or ``auto``.
        threads: CPU threads of the engine.
        batch: images per inference.
        exif: turn images by their EXIF orientation, as `run` does and `evaluate` does not.
        digest: ``manifest_sha256`` that the bundle must have on every worker; None accepts any.
        trust: key, certificates or policy that every worker checks the signature with; see `Bundle.open`.
        raw: return the model's outputs instead of predictions.
    """

    def __init__(
        self,
        bundle: str | Path,
        *,
        engine: str = "auto",
        precision: str = "auto",
        threads: int = 1,
        batch: int = 1,
        exif: bool = False,
        digest: str | None = None,
        trust: str | Path | None = None,
        raw: bool = False,
    ) -> None:
        self.bundle = str(Path(bundle).absolute())
        self.engine = engine
        self.precision = precision
        self.threads = threads
        self.batch = batch
        self.exif = exif
        self.digest = digest
        self.trust = None if trust is None else str(Path(trust).absolute())
        self.raw = raw
        self._opened: _Opened | None = None
        self._groups: dict[tuple[str, int], Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None, "_groups": {}}

    def __call__(self, batch: Any) -> Any:
        """Predict a batch.

        Args:
            batch: a mapping of columns, or a ``pyarrow.Table``: ``path``, and ``bytes`` of encoded images. Without
                ``bytes`` the path is read: a file, or an address of fsspec. Other columns are kept.

        Returns:
            The same kind, without ``bytes`` and with `COLUMNS`. An image that cannot be read has an ``error``.

        Raises:
            BundleError: the bundle is damaged, another than ``digest`` says, or not signed as ``trust`` requires.
            GateError: this machine misses the bundle's golden cases.
            InputError: an object store does not answer.
            UnavailableError: the engine is not available on this machine.
        """
        if isinstance(batch, Mapping):
            given = {name: list(values) for name, values in batch.items()}
            made = _columns_of(self._rows(given))
            return {**{name: _array(values) for name, values in given.items() if name not in _READ}, **made}
        return self._table(batch)

    def predict(self, contents: Sequence[Any], paths: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Predict encoded images, for Spark's ``predict_batch_udf`` and similar interfaces.

        Args:
            contents: bytes of an image file each.
            paths: name of each, for its error.

        Returns:
            `COLUMNS`, one value per image each.
        """
        names = [f"image {number}" for number in range(len(contents))] if paths is None else list(map(str, paths))
        return _columns_of(self._rows({"path": names, "bytes": list(contents)}))

    def open(self) -> str:
        """Open the bundle and replay its golden cases, unless that is done; return the engine in words.

        Raises:
            As for a call.
        """
        return self._open().engine_text

    def close(self) -> None:
        """Release the engine; the next batch opens the bundle again."""
        if self._opened is not None:
            self._opened.engine.close()
            self._opened = None

    def compute(self, columns: Mapping[str, Sequence[Any]]) -> list[Computed]:
        """Read, preprocess and run the images of a batch.

        Args:
            columns: as for a call.

        Raises:
            As for a call.
        """
        opened = self._open()
        names = list(map(str, columns["path"]))
        with reading(bands_of(opened.bundle.manifest.contract)):
            store = _Batch(names, exif=self.exif)
        found: list[Computed | None] = [None] * len(names)
        waiting: list[tuple[int, float]] = []
        for index, data in enumerate(fetch(columns, self._groups)):
            store.data = data
            digest = None if isinstance(data, OSError) else hashlib.sha256(data).hexdigest()
            try:
                # Decoded images of 100 megapixels take 300 MB each: threads of a process take turns.
                with _one_large_at_a_time if _is_large(data) else nullcontext():
                    frame = store.read(index)
                    started = time.perf_counter_ns()
                    opened.preprocess(frame, out=opened.buffer[len(waiting)])
                    del frame
            except (SourceError, FrameError) as error:
                found[index] = Computed(digest, store.traits(index), None, _clause(error, names[index]))
                continue
            waiting.append((index, (time.perf_counter_ns() - started) / 1e6))
            found[index] = Computed(digest, store.traits(index), None, None)
            if len(waiting) == self.batch:
                _run(opened, waiting, found)
        _run(opened, waiting, found)
        return [one for one in found if one is not None]

    def _open(self) -> _Opened:
        if self._opened is not None:
            return self._opened
        switch_off_telemetry()
        bundle = Bundle.open(self.bundle, trust=self.trust)
        if self.digest is not None and bundle.manifest_sha256 != self.digest:
            raise BundleError(
                f"{self.bundle}: another bundle on this worker",
                got=f"bundle.json of sha256 {bundle.manifest_sha256}",
                expected=self.digest,
                fix="copy the same bundle to every machine, under the same path",
            )
        head = head_of(bundle)
        engine = load_engine(
            bundle, self.engine, self.precision, max_batch=_slots(bundle, self.batch), threads=self.threads, judged=True
        )
        try:
            cases = load_golden(bundle)
            gates = [*frame_gates(bundle, cases), output_gate(bundle, engine, cases, batch=bundle.batch.min)]
            failed = [gate for gate in gates if not gate.passed]
            if failed:
                raise GateError(
                    f"{self.bundle}: a worker misses the bundle's golden cases",
                    got="; ".join(f"{gate.name}: {gate.misses()}" for gate in failed),
                    fix=f"edgeproof verify {self.bundle}",
                )
            info = engine.describe()
            self._opened = _Opened(
                bundle,
                engine,
                f"{info.name} {info.version} {info.precision}",
                Preprocessor(bundle.contract),
                engine.allocate_input(_slots(bundle, self.batch)),
                head,
            )
        except BaseException:
            engine.close()
            raise
        return self._opened

    def _rows(self, columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
        computed, opened = self.compute(columns), self._open()
        common = {"engine": opened.engine_text, "bundle": opened.bundle.manifest_sha256}
        return [
            {
                "sha256": one.sha256,
                **(_NOTHING if one.outputs is None else _row_of(opened.head(one.outputs))),
                **common,
                "error": one.error,
            }
            for one in computed
        ]

    def _table(self, batch: pa.Table) -> pa.Table:
        import pyarrow as pa

        columns = batch.to_pydict()
        kept = batch.drop_columns([name for name in _READ if name in batch.column_names])
        if self.raw:
            return _with_outputs(kept, self.compute(columns))
        rows = self._rows(columns)
        texts, numbers = pa.string(), pa.float64()
        types = {
            **dict.fromkeys(("sha256", "label", "engine", "bundle", "error"), texts),
            **dict.fromkeys(("probability", "margin", "score"), numbers),
            "top5_labels": pa.list_(texts),
            "top5_probabilities": pa.list_(numbers),
        }
        for name in COLUMNS:
            column = pa.array([row[name] for row in rows], types[name])
            if name in kept.column_names:
                kept = kept.drop_columns([name])
            kept = kept.append_column(name, column)
        return kept


class _Batch(EncodedStore):
    """The images of a batch, of which the one that is read now is in memory."""

    data: bytes | OSError = b""

    def content(self, index: int) -> bytes:  # noqa: ARG002 - it is the one that is read
        if isinstance(self.data, OSError):
            raise self.data
        return self.data


_NOTHING: dict[str, Any] = dict.fromkeys(
    ("label", "probability", "margin", "score", "top5_labels", "top5_probabilities")
)


def _slots(bundle: Bundle, batch: int) -> int:
    return max(batch, bundle.batch.min)


def _run(opened: _Opened, waiting: list[tuple[int, float]], found: list[Computed | None]) -> None:
    """Run the images that wait in the input buffer, and put their outputs into ``found``."""
    if not waiting:
        return
    count = max(len(waiting), opened.bundle.batch.min)
    started = time.perf_counter_ns()
    outputs = opened.engine.run(opened.buffer[:count])
    each_ms = (time.perf_counter_ns() - started) / 1e6 / len(waiting)
    for place, (index, preprocess_ms) in enumerate(waiting):
        one = found[index]
        if one is not None:
            own = tuple(output[place : place + 1].copy() for output in outputs)
            found[index] = Computed(one.sha256, one.traits, own, None, preprocess_ms, each_ms)
    waiting.clear()


def _is_large(data: bytes | OSError) -> bool:
    width, height = (None if isinstance(data, OSError) else picture_size(data)) or (0, 0)
    return width * height > _LARGE_PIXELS


def _clause(error: EdgeproofError, name: str) -> str:
    text = reason_of(error, name) if isinstance(error, SourceError) else " ".join(str(error).split())
    return encodable(text.replace("\0", r"\x00"))


def _row_of(decision: Decision) -> dict[str, Any]:
    """Return the columns of a prediction of any task."""
    said = decision.to_json(_TOP)
    ranked = said.get("top", [])
    anomaly = said.get("anomaly")
    # Independent probabilities of several labels have no margin.
    margin = None
    if decision.probability is not None and len(ranked) > 1:
        margin = float(ranked[0]["probability"] - ranked[1]["probability"])
    return {
        "label": decision.label,
        "probability": decision.probability,
        "margin": margin,
        "score": None if anomaly is None else anomaly["score"],
        "top5_labels": [one["label"] for one in ranked],
        "top5_probabilities": [float(one["probability"]) for one in ranked],
    }


def _columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    numbers = ("probability", "margin", "score")
    return {
        name: np.array([math.nan if row[name] is None else row[name] for row in rows], np.float64)
        if name in numbers
        else _array([row[name] for row in rows])
        for name in COLUMNS
    }


def _array(values: Sequence[Any]) -> NDArray[Any]:
    """Return an array of objects: NumPy would make fixed-width texts, and matrices of lists."""
    made = np.empty(len(values), object)
    made[:] = values
    return made


def _with_outputs(kept: pa.Table, computed: Sequence[Computed]) -> pa.Table:
    """Return a table with the bytes, dtype and shape of each output, which `outputs_in` reads."""
    import pyarrow as pa

    def form(one: Computed) -> str:
        return ";".join(f"{output.dtype.str}:{','.join(map(str, output.shape))}" for output in one.outputs or ())

    made = {
        "outputs": pa.array([[o.tobytes() for o in one.outputs or ()] for one in computed], pa.list_(pa.binary())),
        "form": pa.array([form(one) for one in computed], pa.string()),
        "traits": pa.array([one.traits.number for one in computed], pa.int8()),
        "error": pa.array([one.error for one in computed], pa.string()),
        "preprocess_ms": pa.array([one.preprocess_ms for one in computed], pa.float64()),
        "inference_ms": pa.array([one.inference_ms for one in computed], pa.float64()),
    }
    for name, column in made.items():
        kept = kept.append_column(name, column)
    return kept


def outputs_in(row: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """Return the outputs of a row that a raw predictor wrote."""

    def arrays() -> Iterator[Tensor]:
        for content, form in zip(row["outputs"], row["form"].split(";"), strict=True):
            dtype, _, shape = form.partition(":")
            yield np.frombuffer(content, np.dtype(dtype)).reshape([int(side) for side in shape.split(",")])

    return tuple(arrays())
