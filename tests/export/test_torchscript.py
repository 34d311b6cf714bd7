"""TorchScript archives with several outputs: dictionaries, tuples and named tuples, and `--output`."""

import io
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import factories
from edgeproof_export.pytorch.outputs import classifier_of
from edgeproof_export.quietly import quiet
from edgeproof_runtime.errors import InputError


class Pair(NamedTuple):
    """Outputs of two heads."""

    species: Tensor
    age: Tensor


class TwoHeads(nn.Module):
    """Two heads of the same size, of which none is clearly the prediction."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 5)
        self.other = nn.Linear(4, 5)

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.layer(x).relu().mean([2, 3])
        return self.head(features), self.other(features)


class AsDict(TwoHeads):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        species, age = self.both(x)
        return {"species": species, "age": age}


class AsTuple(TwoHeads):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.both(x)


class AsNamed(TwoHeads):
    def forward(self, x: Tensor) -> Pair:
        species, age = self.both(x)
        return Pair(species, age)


class AsNested(TwoHeads):
    def forward(self, x: Tensor) -> dict[str, dict[str, Tensor]]:
        species, age = self.both(x)
        return {"heads": {"logits": species, "age": age}}


def _loaded(module: torch.jit.ScriptModule) -> nn.Module:
    """Return the module as an archive of `torch.jit.save` gives it."""
    file = io.BytesIO()
    with quiet():
        torch.jit.save(module, file)
        file.seek(0)
        loaded: nn.Module = torch.jit.load(file)
    return loaded


CASES = [(AsDict, "age"), (AsTuple, "1"), (AsNamed, "age"), (AsNamed, "1")]


@pytest.mark.parametrize(
    ("kind", "wanted", "make"),
    # A trace takes no nested dictionaries.
    [*((*case, make) for case in CASES for make in ("script", "trace")), (AsNested, "heads.age", "script")],
)
def test_torchscript_with_named_outputs(kind: type[TwoHeads], wanted: str, make: str) -> None:
    torch.manual_seed(0)
    module, example = kind().eval(), torch.zeros(2, 3, 16, 16)
    with quiet():
        scripted = torch.jit.trace(module, example, strict=False) if make == "trace" else torch.jit.script(module)
    source = _loaded(scripted)
    contract = factories.Tiny.edgeproof_contract
    if kind is not AsNested:  # its logits are clear
        with pytest.raises(InputError, match="several outputs may hold the class scores") as caught:
            classifier_of(source, contract, "m.pt")
        assert "--output" in str(caught.value.fix)
    if make == "trace" and kind is AsNamed:  # a trace keeps no names
        wanted = "1"
    model, head, _ = classifier_of(source, contract, "m.pt", wanted)
    assert head.classes == 5
    batch = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32))
    with torch.no_grad():
        torch.testing.assert_close(model(batch), module.both(batch)[1])


class WithMeta(TwoHeads):
    def forward(self, x: Tensor, meta: Tensor) -> Tensor:
        return self.both(x)[0] + meta


def test_torchscript_of_two_inputs_is_refused_with_the_mend() -> None:
    with quiet():
        source = _loaded(torch.jit.script(WithMeta().eval()))
    with pytest.raises(InputError, match="fails on the contract's tensor") as caught:
        classifier_of(source, factories.Tiny.edgeproof_contract, "m.pt")
    assert "takes the images alone" in str(caught.value.fix)
