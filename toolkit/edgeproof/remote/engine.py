"""A bundle's model on a server, as an engine: tensors or frames in, outputs out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from edgeproof.dashboard.tensors import datatype_of
from edgeproof.remote.client import Client, RemoteModel, RemoteTensor, connect
from edgeproof_runtime.bundle.artifact import ModelArtifact, Tensor, TensorSpec
from edgeproof_runtime.bundle.manifest import Precision
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.engines.base import EngineInfo, FrameEngine, Unavailable
from edgeproof_runtime.errors import InputError
from edgeproof_runtime.system.opencv import cv2

__all__ = ["RemoteEngine", "open_server"]


class RemoteEngine(FrameEngine):
    """A model of a server.

    Args:
        bundle: the bundle that the server is to run.
        client: connection to the server, which `close` closes.
        model: name of the model for clients.
        precision: precision whose bounds apply; ``auto`` for the one that the server names, else the exported model's.
        max_batch: images per request.

    Attributes:
        image: what the model takes: ``encoded``, ``frame``, or None for tensors.
        network: name of a model of the server that takes tensors; None if it has none.
        preprocessing: name of a model of the server that turns images into tensors; None if it has none.

    Raises:
        InputError: the server has no such model, or its inputs or outputs are not the bundle's.
        UnavailableError: the server cannot be reached.
    """

    name = "server"

    def __init__(
        self, bundle: Bundle, client: Client, model: str, *, precision: str = "auto", max_batch: int = 1
    ) -> None:
        self._client, self._bundle, self.model = client, bundle, model
        self._server = client.server()
        described = client.model(model)
        if described is None:
            raise InputError(
                f"{client.url}: no model {model}", got=f"server {self._server}", fix="--model names one that is ready"
            )
        self._named = described.parameters
        artifact = _artifact(bundle, described, precision)
        super().__init__(replace(artifact, max_batch=max(max_batch, 1)))
        given = self._only_input(described)
        self.image = self._image_of(given)
        self._given = given
        self._platform = described.platform
        self._require_outputs(described)
        self.network, self.preprocessing = self._parts()
        self._fixed = given.shape[0] if given.shape and given.shape[0] > 0 else None

    @property
    def client(self) -> Client:
        """The connection."""
        return self._client

    @property
    def of_this_bundle(self) -> bool | None:
        """Whether the server's configuration names this bundle; None if it names none."""
        named = self._named.get("edgeproof.manifest_sha256")
        return None if named is None else named == self._bundle.manifest_sha256

    @property
    def batch_of_one(self) -> bool:
        """Whether a request may hold one sample."""
        return self._fixed in (None, 1)

    @classmethod
    def unavailable_reason(cls) -> Unavailable | None:
        return None

    def describe(self) -> EngineInfo:
        platform = f", {self._platform}" if self._platform else ""
        return EngineInfo(self.name, self._server, f"{self._client.url}{platform}", self.artifact.precision)

    @property
    def preprocesses(self) -> bool:
        return self.image is not None

    def run_frames(self, frames: Sequence[NDArray[Any]]) -> tuple[Tensor, ...]:
        if self.image == "encoded":
            images = np.empty((len(frames), 1), object)
            images[:, 0] = [encode(frame) for frame in frames]
            return self.infer_images(images)
        parts = [self.infer_images(self._pixels(frame)[None]) for frame in frames]
        return tuple(np.concatenate(of) for of in zip(*parts, strict=True))

    def infer_images(self, images: NDArray[Any]) -> tuple[Tensor, ...]:
        """Run the model on images: ``[N, 1]`` files of dtype object, or ``[N, H, W, C]`` frames."""
        return self._infer(self.model, self._given, images, len(images), self.artifact.outputs)

    def preprocess(self, images: NDArray[Any]) -> Tensor:
        """Return the tensors that the server makes of images, ``N x input.shape``.

        Raises:
            InputError: the server has no such model.
        """
        if self.preprocessing is None:
            raise InputError(f"{self._client.url}: no model that preprocesses")
        return self._infer(self.preprocessing, self._given, images, len(images), [self.artifact.input])[0]

    def images_of(self, frame: NDArray[Any], encoded: bytes) -> NDArray[Any]:
        """Return one image as the model takes it: the file itself, or its pixels."""
        if self.image == "encoded":
            images = np.empty((1, 1), object)
            images[0, 0] = encoded
            return images
        return self._pixels(frame)[None]

    def _run(self, batch: Tensor) -> tuple[Tensor, ...]:
        if self.network is None:
            raise InputError(
                f"{self._client.url}: model {self.model} takes no tensors", got=f"an input {self._given.name}"
            )
        spec = self.artifact.input
        given = RemoteTensor(spec.name, datatype_of(spec.dtype), ())
        return self._infer(self.network, given, batch, len(batch), self.artifact.outputs)

    def close(self) -> None:
        self._client.close()

    def _infer(
        self, model: str, given: RemoteTensor, values: NDArray[Any], count: int, outputs: Sequence[TensorSpec]
    ) -> tuple[Tensor, ...]:
        if self._fixed is not None and count > self._fixed:
            size = self._fixed
            groups = [values[at : at + size] for at in range(0, count, size)]
            parts = [self._infer(model, given, group, len(group), outputs) for group in groups]
            return tuple(np.concatenate(of) for of in zip(*parts, strict=True))
        if self._fixed is not None and count < self._fixed:  # a graph of a fixed batch
            values = np.concatenate([values, np.repeat(values[-1:], self._fixed - count, axis=0)])
        if given.datatype == "BYTES" and len(given.shape) == 1:
            values = values.reshape(-1)
        names = [spec.name for spec in outputs]
        found = self._client.infer(model, given.name, values, names)
        rows = []
        for spec, tensor in zip(outputs, found, strict=True):
            expected = (len(tensor), *spec.shape)
            if tensor.size != np.prod(expected, dtype=int) or len(tensor) < count or tensor.dtype == object:
                raise InputError(
                    f"{self._client.url}: model {model}: an output has another shape than the bundle says",
                    got=f"{spec.name} {tensor.dtype} {list(tensor.shape)}",
                    expected=f"[{count}, {', '.join(map(str, spec.shape))}]",
                )
            rows.append(tensor.reshape(expected)[:count])
        return tuple(rows)

    def _pixels(self, frame: NDArray[Any]) -> NDArray[Any]:
        channels = self._given.shape[-1]
        if frame.ndim == 2 and channels == 3:
            return cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR)
        return frame if frame.ndim == 3 else frame[..., None]

    def _only_input(self, described: RemoteModel) -> RemoteTensor:
        if len(described.inputs) != 1:
            raise self._other("inputs", described.inputs, f"one input, {self.artifact.input.name}")
        return described.inputs[0]

    def _image_of(self, given: RemoteTensor) -> str | None:
        spec = self.artifact.input
        if _fits(given, spec):
            return None
        contract = self._bundle.manifest.contract
        if contract is not None and given.datatype == "BYTES" and (len(given.shape) == 1 or given.shape == (-1, 1)):
            return "encoded"
        if contract is not None and len(given.shape) == 4 and given.shape[1:3] == (-1, -1):
            return "frame"
        expected = f"{spec.name} {datatype_of(spec.dtype)} [N, {', '.join(map(str, spec.shape))}], or images"
        raise self._other("input", (given,), expected)

    def _require_outputs(self, described: RemoteModel) -> None:
        by_name = {one.name: one for one in described.outputs}
        for spec in self._bundle.artifact().outputs:
            if spec.name not in by_name or not _same_shape(by_name[spec.name].shape, spec.shape):
                expected = f"{spec.name} [N, {', '.join(map(str, spec.shape))}]"
                raise self._other("outputs", described.outputs, expected)

    def _parts(self) -> tuple[str | None, str | None]:
        """Return the models of the server that take tensors, and that make them."""
        if self.image is None:
            return self.model, None
        net, pre = (self._client.model(f"{self.model}_{part}") for part in ("net", "pre"))
        takes = net is not None and len(net.inputs) == 1 and _fits(net.inputs[0], self.artifact.input)
        makes = pre is not None and len(pre.outputs) == 1 and _fits(pre.outputs[0], self.artifact.input)
        return f"{self.model}_net" if takes else None, f"{self.model}_pre" if makes else None

    def _other(self, what: str, got: Sequence[RemoteTensor], expected: str) -> InputError:
        shown = ", ".join(f"{one.name} {one.datatype} {list(one.shape)}" for one in got) or "none"
        return InputError(
            f"{self._client.url}: model {self.model}: its {what} are not those of {self._bundle.path}",
            got=shown,
            expected=expected,
            fix="serve this bundle, or verify the one that is served",
        )


def open_server(
    bundle: Bundle, url: str, model: str | None, token: str | None, precision: str = "auto", *, max_batch: int = 1
) -> RemoteEngine:
    """Connect to the server that runs a bundle's model.

    Args:
        bundle: the bundle.
        url: as for `edgeproof.remote.client.connect`.
        model: name of the server's model; None means the bundle's.
        token: token of the server.
        precision: as for `RemoteEngine`.
        max_batch: images per request.

    Raises:
        InputError, UnavailableError: as `RemoteEngine`.
    """
    client = connect(url, token)
    try:
        return RemoteEngine(bundle, client, model or bundle.name, precision=precision, max_batch=max_batch)
    except BaseException:
        client.close()
        raise


def encode(frame: NDArray[Any]) -> bytes:
    """Return a frame as a PNG file, or as ``.npy`` where PNG cannot hold it."""
    if frame.dtype == np.uint8 and (frame.ndim == 2 or frame.shape[2] in (1, 3)):
        return cv2.imencode(".png", frame, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
    from io import BytesIO

    out = BytesIO()
    np.save(out, frame)
    return out.getvalue()


def _artifact(bundle: Bundle, described: RemoteModel, precision: str) -> ModelArtifact:
    named: Mapping[str, str] = described.parameters
    told = named.get("edgeproof.precision", "")
    chosen = precision if precision != "auto" else told if told in get_args(Precision) else None
    if chosen is not None and chosen not in bundle.precisions:
        chosen = None if precision == "auto" else chosen
    return bundle.artifact(chosen)


def _fits(given: RemoteTensor, spec: TensorSpec) -> bool:
    same = given.name == spec.name and given.datatype == datatype_of(spec.dtype)
    return same and _same_shape(given.shape, spec.shape)


def _same_shape(shape: Sequence[int], expected: Sequence[int]) -> bool:
    """Return whether a shape with a batch is a bundle's without; an output [N] may be announced as [N, 1]."""
    return tuple(shape[1:]) == tuple(expected or ()) or (not expected and tuple(shape[1:]) == (1,))
