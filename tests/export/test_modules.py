"""What a factory returns: unwrapped where it is clear, named where it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import factories
from edgeproof_export.models import resolve
from edgeproof_export.pytorch.modules import plain_module, to_eval
from edgeproof_runtime.errors import InputError


@pytest.mark.parametrize(
    ("wrap", "note"),
    [
        (nn.DataParallel, "The wrapper DataParallel was taken off the model."),
        (torch.optim.swa_utils.AveragedModel, "AveragedModel (averaged weights) was taken off"),
        (torch.compile, "OptimizedModule"),
        (lambda model: nn.DataParallel(torch.compile(model)), "OptimizedModule"),
        (lambda model: (model, object()), "returns a tuple of 2; Tiny in it was taken"),
        (lambda model: {"model": model, "transform": None}, "returns a dict of 2; Tiny in it was taken"),
        (lambda model: type(model), "returns the class Tiny"),
    ],
)
def test_the_module_is_found(wrap: Callable[[nn.Module], Any], note: str) -> None:
    module, notes = plain_module(wrap(factories.tiny()), "m:f")
    assert type(module) is factories.Tiny
    assert any(note in line for line in notes)


def test_an_exported_program_of_a_factory() -> None:
    model = factories.tiny().eval()
    program = torch.export.export(model, (torch.zeros(2, 3, 16, 16),))
    module, notes = plain_module(program, "m:f")
    assert isinstance(module, nn.Module)
    assert notes == ["m:f: returns an exported program, whose module was taken."]
    to_eval(module, "m:f")
    batch = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(module(batch), model(batch))


def test_wrappers_inside_a_model_and_compile_in_place() -> None:
    inner = factories.tiny()
    inner.compile()
    module, notes = plain_module(nn.Sequential(nn.DataParallel(factories.tiny()), nn.Identity()), "m:f")
    assert type(module[0]) is factories.Tiny  # type: ignore[index]
    assert notes == ["The wrapper DataParallel was taken off 0."]
    assert plain_module(inner, "m:f")[1] == ["torch.compile is taken off: the exporter traces the module itself."]


def test_a_lightning_module_without_forward() -> None:
    lightning = pytest.importorskip("lightning")

    class Lit(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = factories.tiny()
            self.loss = nn.CrossEntropyLoss()

    class WithForward(Lit):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.model(x)
            return scores

    assert type(plain_module(Lit(), "m:f")[0]) is factories.Tiny
    module, notes = plain_module(WithForward(), "m:f")
    assert type(module) is WithForward
    assert "LightningModule: its forward() is exported" in notes[0]


def _meta() -> nn.Module:
    with torch.device("meta"):
        return factories.tiny()


def _quantised() -> Any:
    with pytest.warns((UserWarning, DeprecationWarning)):
        return torch.ao.quantization.quantize_dynamic(factories.tiny(), {nn.Linear}, dtype=torch.qint8)


@pytest.mark.parametrize(
    ("make", "message", "fix"),
    [
        (lambda: factories.tiny().state_dict(), "returns a state dict, not a module", "load_state_dict"),
        (lambda: (factories.tiny(), factories.tiny()), "tuple of Tiny, Tiny", "return only the classifier"),
        (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(5)), "lazy modules", "call the model once"),
        (_meta, "meta device", "assign=True"),
        (_quantised, "dynamically quantised by PyTorch", "edgeproof optimize"),
        (lambda: 3, "does not return a module", ""),
        (lambda: nn.Linear, "returns a class that cannot be called", "call the class"),
    ],
)
def test_what_is_not_a_module_with_weights_is_named(make: Callable[[], Any], message: str, fix: str) -> None:
    with pytest.raises(InputError) as caught:
        plain_module(make(), "m:f")
    assert message in str(caught.value)
    assert fix in str(caught.value.fix or "")


def test_an_eval_that_raises() -> None:
    class Raises(factories.Tiny):
        def eval(self) -> Any:
            raise RuntimeError("not here")

    model = Raises()
    assert "eval() raises RuntimeError" in to_eval(model, "m:f")[0]
    assert not any(part.training for part in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_an_archive_of_torchscript(tmp_path: Path) -> None:
    example = torch.zeros(2, 3, 16, 16)
    with pytest.warns(FutureWarning):
        traced = torch.jit.trace(factories.tiny().eval(), example)
    for name in ("m.pt", "m.pts"):
        traced.save(str(tmp_path / name))
        source = resolve(str(tmp_path / name))
        assert isinstance(source.model, torch.jit.ScriptModule)
        assert source.weights == "in the TorchScript archive"
        with pytest.raises(InputError, match="contains its weights"):
            resolve(str(tmp_path / name), weights="w.pth")
