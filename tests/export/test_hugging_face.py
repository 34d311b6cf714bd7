"""`hf:FOLDER`: network, preprocessing and labels of a folder of save_pretrained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from bundles import frames
from edgeproof_export import export_bundle
from edgeproof_export.contracts import ContractFlags
from edgeproof_export.models import resolve
from edgeproof_export.pytorch import hugging_face
from edgeproof_export.pytorch.hugging_face_contract import contract_of, largest_difference
from edgeproof_export.quietly import quiet
from edgeproof_runtime.errors import InputError, UnavailableError

transformers = pytest.importorskip("transformers")

VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
    "hidden_act": "relu",
}


def save(folder: Path, processor: Any, **config: Any) -> Path:
    torch.manual_seed(0)
    with quiet():
        network = transformers.ViTForImageClassification(transformers.ViTConfig(**VIT, **config))
        network.save_pretrained(folder)
        if processor is not None:
            processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = {0: "cat", 1: "dog", 2: "cow"}
    return save(
        tmp_path_factory.mktemp("hf") / "vit",
        transformers.ViTImageProcessor(size={"height": 32, "width": 32}),
        id2label=names,
        label2id={name: index for index, name in names.items()},
    )


@pytest.mark.slow
def test_a_folder_becomes_a_bundle_with_the_same_answers(vit: Path, tmp_path: Path) -> None:
    for number, frame in enumerate(frames(4)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), frame)
    done = export_bundle(f"hf:{vit}", tmp_path / "vit.edge", data=str(tmp_path))
    assert done.bundle.labels == ("cat", "dog", "cow")
    assert done.bundle.contract.summary() == ("rgb 32x32, squash 32 bilinear, (x/255 - [0.5 0.5 0.5]) / [0.5 0.5 0.5]")
    assert "ViTForImageClassification" in str(done.bundle.manifest.provenance["weights"])
    assert done.bundle.manifest.provenance["weights_file"] == "model.safetensors"


def test_invented_labels_are_no_labels_and_multilabel_is_said(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", None, num_labels=4, problem_type="multi_label_classification")
    source = resolve(f"hf:{folder}")
    assert source.labels is None
    assert source.contract is None
    assert any("--task multilabel" in note for note in source.notes)
    assert isinstance(source.model, nn.Module)
    assert not source.model.training


PROCESSORS: list[tuple[str, dict[str, Any], str]] = [
    ("ViTImageProcessor", {}, "rgb 224x224, squash 224 bilinear"),
    ("DeiTImageProcessor", {}, "rgb 224x224, squash 256 bicubic, crop 224"),
    ("BeitImageProcessor", {}, "rgb 224x224, squash 224 bicubic"),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}}, "rgb 224x224, shortest 256 bicubic, crop 224"),
    ("ConvNextImageProcessor", {}, "rgb 384x384, squash 384 bicubic"),
    ("MobileNetV1ImageProcessor", {}, "rgb 224x224, shortest 256 bilinear, crop 224"),
    ("MobileNetV2ImageProcessor", {}, "rgb 224x224, shortest 256 bilinear, crop 224"),
    ("MobileViTImageProcessor", {"size": {"shortest_edge": 288}}, "bgr 256x256, shortest 288 bicubic, crop 256"),
    ("LevitImageProcessor", {}, "rgb 224x224, shortest 256 bicubic, crop 224"),
    ("PoolFormerImageProcessor", {}, "rgb 224x224, shortest 248 bicubic, crop 224"),
    ("EfficientNetImageProcessor", {}, "rgb 346x346, squash 346 bicubic"),
    ("EfficientNetImageProcessor", {"rescale_offset": True, "rescale_factor": 1 / 127.5}, "(x/127.5 - [1.5 1.5 1.5])"),
    ("BitImageProcessor", {}, "rgb 224x224, shortest 224 bicubic, crop 224"),
    ("ViTImageProcessor", {"do_normalize": False}, "(x/255 - [0 0 0]) / [1 1 1]"),
]


@pytest.mark.parametrize(("name", "fields", "summary"), PROCESSORS)
def test_the_contract_of_an_image_processor(name: str, fields: dict[str, Any], summary: str) -> None:
    contract, _ = contract_of(getattr(transformers, name)(**fields), "hf:x")
    assert summary in contract.summary()


@pytest.mark.slow
def test_contracts_equal_the_pillow_processors_on_photographs() -> None:
    data = pytest.importorskip("skimage.data")
    photographs = [
        np.ascontiguousarray(image[..., ::-1]) for image in (data.astronaut(), data.coffee(), data.chelsea())
    ]
    for name, fields, _ in PROCESSORS:
        with quiet():
            processor = getattr(transformers, name + "Pil")(**fields)
            contract, _ = contract_of(getattr(transformers, name)(**fields), "hf:x")
            differences = [largest_difference(processor, contract, frame) for frame in photographs]
        # Levels of 0..255, so that what is left is the float32 rounding of rescale and normalize.
        assert max(differences) < 1e-3, (name, fields, differences)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("ViTImageProcessor", {"do_resize": False}, "do_resize false"),
        ("ViTImageProcessor", {"resample": 5}, "resample 5"),
        ("ViTImageProcessor", {"image_mean": "0.5"}, "image_mean 0.5"),
        ("ViTImageProcessor", {"size": {"longest_edge": 32}}, "size {'longest_edge': 32}"),
        ("BitImageProcessor", {"size": {"shortest_edge": 235}}, "one pixel beside"),
        (
            "PerceiverImageProcessor",
            {"size": {"height": 224, "width": 224}, "crop_size": {"height": 224, "width": 224}},
            "another preprocessing",
        ),
    ],
)
def test_what_has_no_contract_is_refused_by_its_field(name: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        contract_of(getattr(transformers, name)(**fields), "hf:x")
    assert message in str(caught.value.got)


def test_a_processor_without_a_contract_gives_way_to_the_flags(tmp_path: Path) -> None:
    folder = save(tmp_path / "m", transformers.ViTImageProcessor(do_resize=False), num_labels=3)
    with pytest.raises(InputError, match="has no input contract") as caught:
        export_bundle(f"hf:{folder}", tmp_path / "m.edge")
    assert "do_resize false" in str(caught.value.got)
    assert "--input-size" in str(caught.value.fix)
    flags = ContractFlags(input_size=(32, 32), mean=(0.5,), std=(0.5,))
    done = export_bundle(f"hf:{folder}", tmp_path / "m.edge", contract=flags)
    assert done.bundle.contract.resize_size == (32, 32)
    assert any("do_resize false" in note for note in done.report.warnings)


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _other_architecture(folder: Path) -> None:
    _change(folder, architectures=["ViTModel"])


def _own_code(folder: Path) -> None:
    _change(folder, auto_map={"AutoModel": "evil.Model"})


def _kernel(folder: Path) -> None:
    _change(folder, vision_config={"attn_implementation": "somebody/kernels"})


def _quantiser(folder: Path) -> None:
    _change(folder, quantization_config={"quant_method": "x"})


def _backbone_weights(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def _damaged_config(folder: Path) -> None:
    (folder / "config.json").write_text("{", encoding="utf-8")


def _change(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_weights, "has no model.safetensors"),
        (_other_architecture, "not an image classifier"),
        (_own_code, "needs code from the folder"),
        (_kernel, "loads code from elsewhere"),
        (_quantiser, "loads code from elsewhere"),
        (_backbone_weights, "lacks weights"),
        (_damaged_config, "not a folder of save_pretrained"),
    ],
)
def test_folders_that_cannot_be_taken(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    folder = save(tmp_path / "m", None, num_labels=3)
    damage(folder)
    with pytest.raises(InputError, match=message):
        resolve(f"hf:{folder}")


def test_a_name_of_the_hub_is_not_downloaded() -> None:
    with pytest.raises(InputError, match="folder not found") as caught:
        resolve("hf:google/vit-base-patch16-224")
    assert caught.value.fix == "hf download google/vit-base-patch16-224 --local-dir DIR, then hf:DIR"


def test_options_that_contradict_the_folder_and_a_missing_package(vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="contains its weights"):
        resolve(f"hf:{vit}", num_classes=5)
    monkeypatch.setattr(hugging_face.util, "find_spec", lambda _name: None)
    with pytest.raises(UnavailableError, match="requires transformers") as caught:
        resolve(f"hf:{vit}")
    assert caught.value.fix == 'pip install "edgeproof[hf]"'
