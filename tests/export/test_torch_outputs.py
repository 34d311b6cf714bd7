"""Outputs of PyTorch models of any structure: the class scores are found, or `--output` is asked for."""

from __future__ import annotations

import re
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import factories
from edgeproof_export.activation import of_operator, of_values
from edgeproof_export.pytorch.outputs import classifier_of
from edgeproof_export.pytorch.reference import TorchReference
from edgeproof_runtime.contract.contract import BatchBounds, InputContract
from edgeproof_runtime.errors import InputError

CONTRACT = factories.Tiny.edgeproof_contract
Named = namedtuple("Named", "logits aux_logits")  # noqa: PYI024  # as in torchvision's GoogLeNetOutputs


@dataclass
class Output:
    """Shaped like transformers' ImageClassifierOutput."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class Shaped(factories.Tiny):
    """Tiny, whose output is changed by a function of scores and features."""

    def __init__(self, change: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Any:  # type: ignore[override]
        scores = super().forward(x)
        return self.change(scores, scores * 0.5 + 1)


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (lambda scores, _other: (scores,), None),
        (lambda scores, _other: [scores], None),
        (lambda scores, other: {"logits": scores, "features": other}, "Output logits is taken, by its name"),
        (lambda scores, other: OrderedDict(out=scores, aux=other), "named as features or auxiliary heads"),
        (lambda scores, other: Output(logits=scores, hidden_states=(other[:, :, None] * torch.ones(3),)), "only one"),
        (lambda scores, _other: Output(logits=scores), None),
        (lambda scores, other: Named(scores, other), "Output logits is taken, by its name"),
        (lambda scores, _other: {"head": {"logits": scores}, "attention": None}, None),
        (lambda scores, _other: scores[:, :, None, None], r"squeezed to \(2, 5\)"),
        (lambda scores, _other: scores.double(), None),
    ],
)
def test_the_class_scores_are_found(change: Callable[[Tensor, Tensor], Any], note: str | None) -> None:
    torch.manual_seed(0)
    model = Shaped(change).eval()
    classifier, head, notes = classifier_of(model, CONTRACT, "m")
    batch = torch.randn(3, 3, 16, 16)
    expected = factories.Tiny.forward(model, batch).detach()
    found = TorchReference(classifier, CONTRACT, "m")(batch.numpy())
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-6)
    assert found.dtype == np.float32
    assert head.classes == 5
    assert [line for line in notes if note and re.search(note, line)] or note is None


def test_a_plain_classifier_stays_the_same_module() -> None:
    model = factories.tiny().eval()
    assert classifier_of(model, CONTRACT, "m")[0] is model


def test_two_heads_ask_for_one() -> None:
    model = Shaped(lambda scores, _other: {"species": scores, "age": torch.zeros(len(scores), 3)}).eval()
    with pytest.raises(InputError, match="several outputs") as caught:
        classifier_of(model, CONTRACT, "m")
    assert "species float32 (2, 5), age float32 (2, 3)" in str(caught.value)
    assert "--output" in str(caught.value.fix)
    for wanted, classes in (("species", 5), ("age", 3), ("0", 5), ("1", 3)):
        assert classifier_of(model, CONTRACT, "m", wanted)[1].classes == classes
    with pytest.raises(InputError, match="no such output"):
        classifier_of(model, CONTRACT, "m", "2")


def test_features_beside_the_scores_that_are_computed_from_them() -> None:
    class Features(factories.Tiny):
        def forward(self, x: Tensor) -> Any:  # type: ignore[override]
            features = self.conv(x).amax((2, 3))
            return features, self.head(features)

    head, notes = classifier_of(Features().eval(), CONTRACT, "m")[1:]
    assert (head.output, head.classes) == ("1", 5)
    assert "features from which it is computed" in notes[0]


@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("flat", [False, True])
def test_one_value_per_image_becomes_two_classes(sigmoid: bool, flat: bool) -> None:
    def change(scores: Tensor, other: Tensor) -> Tensor:
        one = scores[:, 0] if flat else scores[:, :1]
        return one.sigmoid() if sigmoid else one

    torch.manual_seed(0)
    model = Shaped(change).eval()
    classifier, head, notes = classifier_of(model, CONTRACT, "m")
    batch = torch.randn(4, 3, 16, 16)
    found = TorchReference(classifier, CONTRACT, "m")(batch.numpy())
    p = factories.Tiny.forward(model, batch).detach()[:, 0].sigmoid().numpy()
    np.testing.assert_allclose(found, np.stack([1 - p, p], axis=1), atol=1e-6)
    assert head.one_column == ("probability" if sigmoid else "logit")
    assert "two classes" in notes[0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda scores, _other: scores, "none"),
        (lambda scores, _other: {"logits": scores.unsqueeze(2)}, "none"),
        (lambda scores, _other: scores.sigmoid(), None),
        (lambda scores, _other: scores.softmax(1) @ torch.eye(5), None),
    ],
)
def test_a_linear_layer_s_scores_within_0_and_1_are_logits(change: Callable[..., Any], told: str | None) -> None:
    class Changed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 5)
            nn.init.zeros_(self.head.weight)
            nn.init.constant_(self.head.bias, 0.4)

        def forward(self, x: Tensor) -> Any:
            return change(self.head(x.mean((2, 3))), x)

    model = Changed().eval()
    classifier, head, _ = classifier_of(model, CONTRACT, "m")
    found = TorchReference(classifier, CONTRACT, "m")(np.zeros((2, 3, 16, 16), np.float32))
    assert of_values(list(found)).activation in ("sigmoid", "softmax")
    evidence = of_operator(head.operator)
    assert (evidence and evidence.activation) == told


def test_a_logit_within_0_and_1_is_no_probability() -> None:
    model = Shaped(lambda scores, _other: scores[:, :1] * 0 + 0.3).eval()
    assert classifier_of(model, CONTRACT, "m")[1].one_column == "logit"


def test_a_model_for_single_images_says_how_to_export_it() -> None:
    class Single(factories.Tiny):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.reshape(1, 3, 16, 16))

    with pytest.raises(InputError, match="takes single images only") as caught:
        classifier_of(Single().eval(), CONTRACT, "m")
    assert str(caught.value.fix).startswith("--batch 1,1,1")
    assert "test_torch_outputs.py" in str(caught.value.got)
    single = InputContract(**{**_fields(CONTRACT), "batch": BatchBounds(1, 1, 1)})
    assert classifier_of(Single().eval(), single, "m")[1].classes == 5


def _fields(contract: InputContract) -> dict[str, Any]:
    return {name: getattr(contract, name) for name in contract.__dataclass_fields__}


def test_an_exported_program_with_a_dictionary() -> None:
    model = Shaped(lambda scores, other: {"logits": scores, "feature": other}).eval()
    program = torch.export.export(model, (torch.zeros(2, 3, 16, 16),), dynamic_shapes=({0: Dim("batch")},))
    classifier, head, _ = classifier_of(program, CONTRACT, "m")
    assert isinstance(classifier, nn.Module)
    assert head.output == "logits"


@pytest.mark.parametrize(("dtype", "share"), [(torch.float16, 1e-2), (torch.bfloat16, 5e-2), (torch.float64, 1e-5)])
def test_other_precisions_become_float32_with_a_note(dtype: torch.dtype, share: float) -> None:
    model = factories.tiny().to(dtype).eval()
    classifier, _, notes = classifier_of(model, CONTRACT, "m")
    assert isinstance(classifier, nn.Module)
    assert {tensor.dtype for tensor in classifier.parameters()} == {torch.float32}
    assert next(model.parameters()).dtype == dtype
    assert f"The weights are {str(dtype).removeprefix('torch.')}" in notes[0]
    assert float(notes[0].split("at most ")[1].split()[0]) < share


def test_scores_in_bfloat16_become_float32() -> None:
    model = Shaped(lambda scores, _other: scores.bfloat16()).eval()
    classifier, head, _ = classifier_of(model, CONTRACT, "m")
    batch = torch.randn(3, 3, 16, 16)
    found = TorchReference(classifier, CONTRACT, "m")(batch.numpy())
    assert (found.dtype, head.changes) == (np.float32, True)
    np.testing.assert_array_equal(found, model(batch).detach().float().numpy())


def test_a_second_argument_of_forward_is_named() -> None:
    class TwoInputs(factories.Tiny):
        def forward(self, x: Tensor, place: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x) + place

    with pytest.raises(InputError, match="fails on the contract's tensor") as caught:
        classifier_of(TwoInputs().eval(), CONTRACT, "m")
    assert "'place'" in str(caught.value.got)
    assert caught.value.fix == "return a module whose forward() takes the images alone"


def test_no_class_scores() -> None:
    with pytest.raises(InputError, match="not a classifier"):
        classifier_of(factories.feature_map().eval(), CONTRACT, "m")
    with pytest.raises(InputError, match="fails on the contract's tensor") as caught:
        classifier_of(factories.without_contract().eval(), CONTRACT, "m")
    assert "shapes cannot be multiplied" in str(caught.value.got)
