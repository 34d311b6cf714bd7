"""From what a person types as MODEL to a module, an exported program or an ONNX file, and what is known about it."""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from edgeproof_export.checkpoint import SUFFIX, Blueprint, read_checkpoint
from edgeproof_export.contracts import from_timm, from_torchvision
from edgeproof_export.labels import Labels, imagenet_ids, timm_labels
from edgeproof_export.weights import fit_weights, read_weights
from edgeproof_runtime.contract.contract import InputContract
from edgeproof_runtime.errors import EdgeproofError, InputError

__all__ = ["SEED", "TORCHVISION_PRETRAINED", "Source", "library_contract", "library_model", "quiet", "resolve"]

SEED = 0  # of `--weights random`

# torchvision builds these two with other arguments when it loads its own weights; without them the weights do not fit
# (auxiliary heads), or fit and answer wrongly (the input transform).
TORCHVISION_PRETRAINED: dict[str, dict[str, bool]] = {
    "googlenet": {"aux_logits": True, "transform_input": True, "init_weights": False},
    "inception_v3": {"aux_logits": True, "transform_input": True, "init_weights": False},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A resolved MODEL.

    Attributes:
        spec: as typed.
        model: a module in eval mode, an exported program, or the path of an ONNX file.
        contract: the model's own; None where nobody recorded one.
        labels: the model's own; None where nobody recorded them.
        weights: where the weights come from, for people.
        weights_file: the file among them.
        blueprint: what a checkpoint of `edgeproof train` says about its network; None for other models.
        transform: the training's own evaluation transform, from a PIL image to a ``CxHxW`` tensor; None where nobody
            recorded one. Factories give it as ``edgeproof_transform`` of their module.
        notes: sentences for people.
    """

    spec: str
    model: nn.Module | ExportedProgram | Path
    contract: InputContract | None = None
    labels: Labels | None = None
    weights: str
    weights_file: Path | None = None
    blueprint: Blueprint | None = None
    transform: Callable[[Any], torch.Tensor] | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def task(self) -> str:
        """The checkpoint's task; models without a checkpoint of `edgeproof train` are classifiers."""
        return "classify" if self.blueprint is None else self.blueprint.task


def resolve(spec: str, *, weights: str | None = None, num_classes: int | None = None) -> Source:
    """Find and build a model.

    Args:
        spec: ``torchvision:NAME``, ``timm:NAME``, ``package.module:factory``, a ``.ckpt`` of `edgeproof train`, a
            ``.pt2`` or an ``.onnx`` file.
        weights: a file; ``pretrained`` (also where None) for the library's own; ``random``, seeded.
        num_classes: outputs of a torchvision or timm model, if not its usual number.

    Raises:
        InputError: there is no such model, it cannot be built, or the weights do not fit.
    """
    path = Path(spec)
    if path.suffix in (".pt2", ".onnx", SUFFIX):
        if weights is not None or num_classes is not None:
            raise InputError(
                f"a {path.suffix} file brings its weights", got="--weights or --num-classes", fix="leave them out"
            )
        return {".pt2": _program, ".onnx": _onnx, SUFFIX: _checkpoint}[path.suffix](path)
    library, separator, name = spec.partition(":")
    if not separator or not library or not name:
        raise InputError(
            "MODEL is not of a form that can be exported",
            got=spec,
            expected="torchvision:NAME, timm:NAME, package.module:factory, a .ckpt, .pt2 or .onnx file",
        )
    torch.manual_seed(SEED)
    build = {"torchvision": _torchvision, "timm": _timm}.get(library)
    source = build(spec, name, weights, num_classes) if build else _factory(spec, library, name, weights, num_classes)
    return _with_weights(source, weights)


def library_model(name: str) -> str | None:
    """``torchvision:NAME`` or ``timm:NAME`` of a classifier that may be named without its library; None if unknown."""
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
    """What the library feeds a network of ``torchvision:NAME`` or ``timm:NAME``.

    Raises:
        InputError: it has no exact contract.
    """
    library, _, name = architecture.partition(":")
    if library == "torchvision":
        from torchvision import models

        return from_torchvision(models.get_model_weights(name).DEFAULT.transforms())
    import timm

    return from_timm(timm.data.resolve_model_data_config(module))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' warnings and logs off the terminal: what matters here is raised, measured or noted."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _torchvision(spec: str, name: str, weights: str | None, num_classes: int | None) -> Source:
    import torchvision
    from torchvision import models

    known: list[str] = models.list_models(module=models)
    if name not in known:
        raise _unknown("torchvision's classification models have", name, known)
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


def _timm(spec: str, name: str, weights: str | None, num_classes: int | None) -> Source:
    import timm

    if not timm.is_model(name):
        raise _unknown("timm has", name, timm.list_models())
    arguments: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    try:
        if _wants_pretrained(weights):
            _forbid_classes(num_classes)
            module = _download(lambda: timm.create_model(name, pretrained=True), f"timm's weights of {name}")
            described = f"timm {timm.__version__}, {module.pretrained_cfg.get('tag') or 'default'}"
        else:
            with quiet():
                module = timm.create_model(name, pretrained=False, **arguments)
            described = ""
    except RuntimeError as error:  # an unknown tag after the dot
        raise InputError(f"timm cannot build {name}", got=_first_line(error)) from error
    config = timm.data.resolve_model_data_config(module)
    return Source(
        spec=spec,
        model=module,
        contract=from_timm(config),
        labels=timm_labels(module) if num_classes is None else None,
        weights=described,
        transform=timm.data.create_transform(**config),
    )


def _factory(spec: str, module_name: str, name: str, weights: str | None, num_classes: int | None) -> Source:
    if num_classes is not None:
        raise InputError("--num-classes is for torchvision and timm models", fix="let the factory build its classes")
    if weights == "pretrained":
        raise InputError(f"{spec} has no pretrained weights of a library", fix="--weights FILE")
    try:
        # Standard output is the command line's own; a person's module may download or print.
        with _importable_from_here(), redirect_stdout(sys.stderr):
            factory = getattr(importlib.import_module(module_name), name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{module_name} cannot be imported",
            got=error,
            expected="a module that is installed or lies in the current folder",
            fix=f"check the name, or run from the folder that holds {module_name.replace('.', '/')}.py",
        ) from error
    except AttributeError as error:
        if hasattr(sys.modules.get(module_name), name):
            raise InputError(f"{module_name} cannot be imported", got=error) from error
        names = [n for n in vars(sys.modules.get(module_name, object)) if not n.startswith("_")]
        raise _unknown(f"{module_name} has", name, names) from error
    except EdgeproofError:
        raise
    except (Exception, SystemExit) as error:  # whatever a person's module does when it is imported
        raise InputError(f"{module_name} fails when it is imported", got=_described(error)) from error
    if not callable(factory):
        raise InputError(
            f"{spec} is not a function",
            got=type(factory).__name__,
            expected="a function that returns a torch.nn.Module",
        )
    try:
        with redirect_stdout(sys.stderr):
            module = factory()
    except (Exception, SystemExit) as error:  # whatever a person's factory does
        raise InputError(
            f"{spec} fails when it is called without arguments", got=_described(error), expected="a torch.nn.Module"
        ) from error
    if not isinstance(module, nn.Module):
        raise InputError(f"{spec} returns no module", got=type(module).__name__, expected="a torch.nn.Module")
    contract = getattr(module, "edgeproof_contract", None)
    if callable(contract):
        contract = contract()
    if not (contract is None or isinstance(contract, InputContract)):
        raise InputError(
            f"edgeproof_contract of {spec} is no contract", got=type(contract).__name__, expected="an InputContract"
        )
    transform = getattr(module, "edgeproof_transform", None)
    if not (transform is None or callable(transform)):
        raise InputError(
            f"edgeproof_transform of {spec} is no transform",
            got=type(transform).__name__,
            expected="a function from a PIL image to a tensor",
        )
    return Source(
        spec=spec, model=module, contract=contract, weights="as the factory returned them", transform=transform
    )


def _program(path: Path) -> Source:
    _require_file(path)
    try:
        # torch.export.load falls back to unpickling anything; this keeps it to tensors.
        with quiet(), _environment("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1"):
            program = torch.export.load(path)
    except Exception as error:  # torch raises a dozen kinds for a damaged archive
        raise InputError(
            f"{path} is not an exported program that this torch {torch.__version__} reads",
            got=_described(error),
            expected="a file of torch.export.save(), with tensors only",
        ) from error
    return Source(spec=str(path), model=program, weights="in the .pt2 file", weights_file=path)


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
    from edgeproof_export.onnx_file import embedded_contract

    return Source(
        spec=str(path),
        model=path,
        contract=embedded_contract(path),
        weights="in the .onnx file",
        weights_file=path,
        notes=("An ONNX file has no PyTorch model behind it: ONNX Runtime's answers are the reference.",),
    )


def _with_weights(source: Source, weights: str | None) -> Source:
    module, notes = source.model, []
    described, file = source.weights, None
    if not isinstance(module, nn.Module):
        raise TypeError(f"{source.spec} was resolved to {type(module).__name__}, not to a module")
    if weights == "random":
        described = f"random, seed {SEED}"
        notes = ["The weights are random: this bundle is good for timing and for nothing else."]
    elif weights not in (None, "pretrained"):
        file = Path(str(weights))
        described = file.name
        notes = fit_weights(module, read_weights(file), file.name)
    module.eval().requires_grad_(False)
    return Source(
        spec=source.spec,
        model=module,
        contract=source.contract,
        labels=source.labels,
        weights=described,
        weights_file=file,
        transform=source.transform,
        notes=(*source.notes, *notes),
    )


def _wants_pretrained(weights: str | None) -> bool:
    return weights in (None, "pretrained")


def _forbid_classes(num_classes: int | None) -> None:
    if num_classes is not None:
        raise InputError(
            "pretrained weights have their own classes",
            got=f"--num-classes {num_classes}",
            fix="give your weights with --weights FILE, or leave --num-classes out",
        )


def _download(build: Callable[[], Any], what: str) -> Any:
    try:
        # torch.hub and timm say on standard output what they download; that is the command line's own.
        with quiet(), redirect_stdout(sys.stderr):
            return build()
    except Exception as error:  # each library, hub and proxy fails in its own way
        raise InputError(
            f"{what} could not be had",
            got=_described(error),
            expected="a network that reaches them, or a cache that holds them",
            fix="--weights FILE",
        ) from error


def _unknown(has: str, name: str, known: Sequence[str]) -> InputError:
    close = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    return InputError(
        f"{has} no {name}",
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


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"there is no file {path}", fix="check the path")


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
