"""Resolve MODEL to a module, an exported program or an ONNX file, with its contract, labels and weights."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from edgeproof_export.checkpoint import SUFFIX, Blueprint, read_checkpoint
from edgeproof_export.contracts import from_timm, from_torchvision
from edgeproof_export.foreign_errors import described, first_line
from edgeproof_export.foreign_files import recognise
from edgeproof_export.labels import Labels, imagenet_ids, timm_labels
from edgeproof_export.numbers import require_numbers
from edgeproof_export.onnx_files.anomaly import is_anomaly_model
from edgeproof_export.onnx_files.file import embedded_contract
from edgeproof_export.onnx_files.reading import OnnxFile, read_onnx
from edgeproof_export.pt2.file import load_program
from edgeproof_export.pytorch.module_checks import nan_tensors, require_inference_mode
from edgeproof_export.pytorch.modules import plain_module, to_eval
from edgeproof_export.pytorch.torchscript import load_torchscript
from edgeproof_export.quietly import quiet
from edgeproof_export.weights.bare import not_a_model
from edgeproof_export.weights.file import read_weights, split_prefix
from edgeproof_export.weights.fit import fit_weights
from edgeproof_runtime.bundle.task_settings import AnomalySettings
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import EdgeproofError, InputError

__all__ = ["SEED", "TORCHVISION_PRETRAINED", "Source", "library_contract", "library_model", "resolve"]

_TORCHSCRIPT = (".pt", ".pts", ".pth", ".jit", ".torchscript", ".ts")

SEED = 0  # seed of `--weights random`

# torchvision builds these two with other arguments for its own weights. Without them the weights do not fit (auxiliary
# heads), or fit and give wrong outputs (input transform).
TORCHVISION_PRETRAINED: dict[str, dict[str, bool]] = {
    "googlenet": {"aux_logits": True, "transform_input": True, "init_weights": False},
    "inception_v3": {"aux_logits": True, "transform_input": True, "init_weights": False},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Resolved MODEL.

    Attributes:
        spec: MODEL as given.
        model: module in eval mode, exported program, or ONNX file.
        contract: the model's contract; None if not recorded.
        contract_error: why the model's recorded preprocessing has no contract; raised where flags give no whole one.
        labels: the model's labels; None if not recorded.
        weights: description of the source of the weights.
        weights_file: file of the weights, or None.
        weights_ema: whether averaged (EMA) weights were taken, where the file has others as well; else None.
        blueprint: blueprint of a checkpoint of `edgeproof train`; None for other models.
        transform: the training's evaluation transform, PIL image to ``CxHxW`` tensor (``edgeproof_transform`` of a
            factory's module); None if not recorded.
        anomaly: threshold of an anomaly model of others; its outputs are heat map and score.
        notes: notes for the report.
    """

    spec: str
    model: nn.Module | ExportedProgram | OnnxFile
    contract: InputContract | None = None
    contract_error: InputError | None = None
    labels: Labels | None = None
    weights: str
    weights_file: Path | None = None
    weights_ema: bool | None = None
    blueprint: Blueprint | None = None
    transform: Callable[[Any], torch.Tensor] | None = None
    anomaly: AnomalySettings | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def task(self) -> str:
        """Return the checkpoint's task, or that of an anomaly model's outputs; other models are classifiers."""
        if self.blueprint is not None:
            return self.blueprint.task
        if self.anomaly is not None or (isinstance(self.model, OnnxFile) and is_anomaly_model(self.model.model)):
            return "reconstruct"
        return "classify"


def resolve(
    spec: str,
    *,
    weights: str | None = None,
    num_classes: int | None = None,
    channels: int | None = None,
    ema: bool | None = None,
    trust: bool = False,
) -> Source:
    """Find and build a model. ``package.module:factory`` is code, which runs because it was named.

    Args:
        spec: ``torchvision:NAME``, ``timm:NAME``, ``hf:FOLDER``, ``anomalib:CKPT``, ``package.module:factory``, a
            ``.ckpt`` of `edgeproof train`, a ``.pt2``, ``.onnx`` or TorchScript file.
        weights: a file; ``pretrained`` (or None) for the library's; ``random``, seeded.
        num_classes: number of classes of a torchvision or timm model; None means the library's.
        channels: number of input channels of a timm model; None means the library's.
        ema: True for the averaged weights of the file, False for the others, None for averaged ones if it has any.
        trust: load a file that holds code, which may then run.

    Raises:
        InputError: the model is unknown, cannot be built, or the weights do not fit.
    """
    path = Path(spec)
    if ema is not None and weights in (None, "pretrained", "random"):
        raise InputError("--ema and --no-ema: require --weights FILE", got=f"--weights {weights}")
    if spec.startswith("anomalib:"):
        from edgeproof_export.anomalib.model import anomalib_model

        path = Path(spec.partition(":")[2])
        _forbid_weights(path, weights, num_classes)
        return anomalib_model(spec, path)
    if path.suffix in _TORCHSCRIPT and (kind := recognise(path)) is not None and kind.name == "torchscript":
        _forbid_weights(path, weights, num_classes)
        return _torchscript(path, trust=trust)
    if path.suffix in (".pt2", ".onnx", SUFFIX):
        _forbid_weights(path, weights, num_classes)
        if path.suffix == ".pt2":
            return _program(path, trust=trust)
        return {".onnx": _onnx, SUFFIX: _checkpoint}[path.suffix](path)
    library, separator, name = spec.partition(":")
    is_address = name.startswith("/") and library != "hf"  # "http" is also a module
    if not separator or not library or not name or is_address:
        if path.exists():
            raise not_a_model(path)
        raise InputError(
            "MODEL: unsupported form",
            got=spec,
            expected="torchvision:NAME, timm:NAME, hf:FOLDER, anomalib:CKPT, package.module:factory, or a .ckpt, "
            ".pt2, .onnx or TorchScript file",
        )
    if library == "hf":
        from edgeproof_export.pytorch.hugging_face import hugging_face

        source = hugging_face(spec, Path(name), weights=weights, num_classes=num_classes)
        return replace(source, notes=(*source.notes, *_evaluated(source)))
    torch.manual_seed(SEED)
    if library == "timm":
        source = _timm(spec, name, weights, num_classes, channels)
    elif library == "torchvision":
        source = _torchvision(spec, name, weights, num_classes)
    else:
        source = _factory(spec, library, name, weights, num_classes)
    return _with_weights(source, weights, ema)


def library_model(name: str) -> str | None:
    """Return ``torchvision:NAME`` or ``timm:NAME`` of a classifier's plain name; None if unknown."""
    from torchvision import models

    library, separator, rest = name.partition(":")
    bare = rest if separator else name
    if library == "torchvision" or not separator:
        if bare in models.list_models(module=models):
            return f"torchvision:{bare}"
        if separator:
            return None
    if library == "timm" or not separator:
        import timm

        return f"timm:{bare}" if timm.is_model(bare) else None
    return None


def library_contract(architecture: str, module: nn.Module) -> InputContract:
    """Return the library's input contract for a network of ``torchvision:NAME`` or ``timm:NAME``.

    Raises:
        InputError: the network has no exact contract.
    """
    library, _, name = architecture.partition(":")
    if library == "torchvision":
        from torchvision import models

        return from_torchvision(models.get_model_weights(name).DEFAULT.transforms())
    import timm

    return from_timm(timm.data.resolve_model_data_config(module))


def _torchvision(spec: str, name: str, weights: str | None, num_classes: int | None) -> Source:
    import torchvision
    from torchvision import models

    known: list[str] = models.list_models(module=models)
    if name not in known:
        raise _unknown("torchvision", name, known)
    default = models.get_model_weights(name).DEFAULT
    arguments: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if _wants_pretrained(weights):
        _forbid_classes(num_classes)
        module = _download(lambda: models.get_model(name, weights=default), f"torchvision's weights {default.name}")
        described = f"torchvision {torchvision.__version__}, {default.name}"
    else:
        if name in TORCHVISION_PRETRAINED and weights != "random":
            arguments |= TORCHVISION_PRETRAINED[name]
        with quiet():
            module = models.get_model(name, weights=None, **arguments)
        described = ""
    categories = default.meta.get("categories")
    labels = None
    if categories and num_classes in (None, len(categories)):
        labels = Labels(tuple(categories), imagenet_ids() if len(categories) == 1000 else None)
    transform = default.transforms()
    contract = from_torchvision(transform)
    return Source(spec=spec, model=module, contract=contract, labels=labels, weights=described, transform=transform)


def _timm(spec: str, name: str, weights: str | None, num_classes: int | None, channels: int | None) -> Source:
    import timm

    if not timm.is_model(name):
        raise _unknown("timm", name, timm.list_models())
    arguments: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if channels not in (None, 3):
        arguments["in_chans"] = channels
    try:
        if _wants_pretrained(weights):
            _forbid_classes(num_classes)
            if channels not in (None, 3):
                raise InputError(
                    "--channels: pretrained weights take 3 channels",
                    got=f"{channels} channels",
                    fix="add --weights FILE, or --weights random",
                )
            module = _download(lambda: timm.create_model(name, pretrained=True), f"timm's weights of {name}")
            described = f"timm {timm.__version__}, {module.pretrained_cfg.get('tag') or 'default'}"
        else:
            with quiet():
                module = timm.create_model(name, pretrained=False, **arguments)
            described = ""
    except RuntimeError as error:  # an unknown tag after the dot
        raise InputError(f"timm:{name}: cannot be built", got=first_line(error, "no reason given")) from error
    config = timm.data.resolve_model_data_config(module)
    if channels is not None:  # timm keeps the pretrained configuration's
        config["input_size"] = (channels, *config["input_size"][1:])
    complete = len(config["mean"]) == len(config["std"]) == config["input_size"][0]
    return Source(
        spec=spec,
        model=module,
        contract=from_timm(config) if complete else None,
        labels=timm_labels(module) if num_classes is None else None,
        weights=described,
        transform=timm.data.create_transform(**config) if config["input_size"][0] in (1, 3) and complete else None,
    )


def _factory(spec: str, module_name: str, name: str, weights: str | None, num_classes: int | None) -> Source:
    if num_classes is not None:
        raise InputError("--num-classes: requires a torchvision or timm model", fix="set the classes in the factory")
    if weights == "pretrained":
        raise InputError(f"{spec}: has no pretrained weights of a library", fix="--weights FILE")
    try:
        # Keep standard output for results: user code may download or print.
        with _importable_from_here(), redirect_stdout(sys.stderr):
            factory = getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{module_name}: cannot be imported",
            got=error,
            expected="an installed module, or one in the current folder",
            fix=f"check the name, or run in the folder of {module_name.replace('.', '/')}.py",
        ) from error
    except AttributeError as error:
        if hasattr(sys.modules.get(module_name), name):
            raise InputError(f"{module_name}: cannot be imported", got=error) from error
        names = [n for n in vars(sys.modules.get(module_name, object)) if not n.startswith("_")]
        raise _unknown(f"{module_name} has", name, names) from error
    except EdgeproofError:
        raise
    except (Exception, SystemExit) as error:  # user code may raise anything
        raise InputError(f"{module_name}: raises an error when imported", got=described(error)) from error
    if not callable(factory):
        raise InputError(
            f"{spec}: not a function",
            got=type(factory).__name__,
            expected="a function that returns a torch.nn.Module",
        )
    try:
        with redirect_stdout(sys.stderr):
            module = factory()
    except (Exception, SystemExit) as error:  # user code may raise anything
        raise InputError(
            f"{spec}: raises an error when called without arguments",
            got=described(error),
            expected="a torch.nn.Module",
        ) from error
    found = module
    module, notes = plain_module(found, spec)
    contract = getattr(found, "edgeproof_contract", getattr(module, "edgeproof_contract", None))
    if callable(contract):
        contract = contract()
    if not (contract is None or isinstance(contract, InputContract)):
        raise InputError(
            f"{spec}: edgeproof_contract is not a contract", got=type(contract).__name__, expected="an InputContract"
        )
    transform = getattr(found, "edgeproof_transform", getattr(module, "edgeproof_transform", None))
    if not (transform is None or callable(transform)):
        raise InputError(
            f"{spec}: edgeproof_transform is not a transform",
            got=type(transform).__name__,
            expected="a function from a PIL image to a tensor",
        )
    return Source(
        spec=spec,
        model=module,
        contract=contract,
        weights="as the factory returned them",
        transform=transform,
        notes=tuple(notes),
    )


def _program(path: Path, *, trust: bool) -> Source:
    _require_file(path)
    kind = recognise(path)
    if kind is not None and kind.name not in ("pt2", "zip"):
        raise not_a_model(path)
    program = load_program(path, trust=trust)
    return Source(spec=str(path), model=program, weights="in the .pt2 file", weights_file=path)


def _torchscript(path: Path, *, trust: bool) -> Source:
    module = load_torchscript(path, trust=trust)
    source = Source(spec=str(path), model=module, weights="in the TorchScript archive", weights_file=path)
    return replace(source, notes=tuple(to_eval(module, str(path))))


def _checkpoint(path: Path) -> Source:
    blueprint, network = read_checkpoint(path)
    return Source(
        spec=str(path),
        model=network.requires_grad_(False),
        contract=blueprint.contract,
        labels=Labels(blueprint.labels, blueprint.class_ids) if blueprint.labels else None,
        weights=f"trained by edgeproof, recipe {blueprint.recipe}",
        weights_file=path,
        blueprint=blueprint,
    )


def _onnx(path: Path) -> Source:
    _require_file(path)
    file = read_onnx(path)
    return Source(
        spec=str(path),
        model=file,
        contract=embedded_contract(file),
        weights="in the .onnx file",
        weights_file=path,
        notes=("An ONNX file has no PyTorch model: ONNX Runtime's outputs are the reference.",),
    )


def _with_weights(source: Source, weights: str | None, ema: bool | None) -> Source:
    module, notes = source.model, list[str]()
    described, file, averaged = source.weights, None, None
    if not isinstance(module, nn.Module):
        raise TypeError(f"{source.spec}: resolved to {type(module).__name__}, not to a module")
    if weights == "random":
        described = f"random, seed {SEED}"
        notes = ["The weights are random: use this bundle for timing only."]
    elif weights not in (None, "pretrained"):
        file, _ = split_prefix(str(weights))
        fitted = fit_weights(module, read_weights(str(weights)), ema=ema)
        described, averaged, notes = fitted.described(file.name), fitted.ema, [*fitted.notes]
    notes += to_eval(module, source.spec)
    require_inference_mode(module, source.spec)
    require_numbers(nan_tensors(module), source.spec)
    return replace(source, weights=described, weights_file=file, weights_ema=averaged, notes=(*source.notes, *notes))


def _forbid_weights(path: Path, weights: str | None, num_classes: int | None) -> None:
    if weights is not None or num_classes is not None:
        raise InputError(
            f"{path}: a {path.suffix} file contains its weights",
            got="--weights or --num-classes",
            fix="leave them out",
        )


def _evaluated(source: Source) -> list[str]:
    return to_eval(source.model, source.spec) if isinstance(source.model, nn.Module) else []


def _wants_pretrained(weights: str | None) -> bool:
    return weights in (None, "pretrained")


def _forbid_classes(num_classes: int | None) -> None:
    if num_classes is not None:
        raise InputError(
            "--num-classes: pretrained weights have fixed classes",
            got=f"--num-classes {num_classes}",
            fix="add --weights FILE, or leave --num-classes out",
        )


def _download(build: Callable[[], Any], what: str) -> Any:
    try:
        # torch.hub and timm print downloads on standard output, which is for results.
        with quiet(), redirect_stdout(sys.stderr):
            return build()
    except Exception as error:  # libraries, hubs and proxies raise different types
        raise InputError(
            f"{what}: download failed",
            got=described(error),
            expected="a network connection, or the files in the library's cache",
            fix="--weights FILE",
        ) from error


def _unknown(library: str, name: str, known: Sequence[str]) -> InputError:
    close = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    return InputError(
        f"{library}: has no model {name}",
        got=name,
        expected=f"one of {len(known)} names" + (f", such as {', '.join(close)}" if close else ""),
        fix=f"did you mean {close[0]}?" if close else None,
    )


@contextmanager
def _importable_from_here() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: file not found", fix="check the path")
