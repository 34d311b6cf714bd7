"""Trainings whose last line exports: the example, Lightning's callback and that of transformers' Trainer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision import transforms

import edgeproof
from factories import tiny
from vits import tiny_vit

pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).resolve().parents[2] / "examples/train_and_export.py"
TRANSFORM = transforms.Compose([transforms.Resize((16, 16)), transforms.ToTensor()])


def data(folder: Path, side: int, classes: int) -> Path:
    """Write arrays of images whose colour is their class."""
    rng = np.random.default_rng(0)
    labels = np.arange(20 * classes) % classes
    images = np.clip(rng.integers(0, 40, (len(labels), side, side, 3)) + 20 * labels[:, None, None, None], 0, 255)
    path = folder / "images.npz"
    arrays = {"x_train": images.astype(np.uint8), "y_train": labels, "x_test": images[:30].astype(np.uint8)}
    np.savez(path, **arrays, y_test=labels[:30])
    return path


def test_the_example_exports_and_verifies(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    lines = [
        line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith(("import", "from", '"""'))
    ]
    assert len(lines) <= 30
    command = [sys.executable, "-W", "ignore", str(EXAMPLE), str(data(tmp_path, 32, 10))]
    subprocess.run(
        command,
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=300,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    bundle = edgeproof.Bundle.open(tmp_path / "cifar10.edge")
    assert bundle.labels[:2] == ("airplane", "automobile")
    assert all(gate.passed for gate in edgeproof.verify(bundle, engine="onnxruntime").gates)


@pytest.mark.filterwarnings("ignore")  # Lightning's own, which differ by its version
@pytest.mark.parametrize("best", [False, True])
def test_lightning_exports_the_last_or_the_best_weights(tmp_path: Path, best: bool) -> None:
    lightning = pytest.importorskip("lightning")
    from lightning.pytorch.callbacks import ModelCheckpoint

    from edgeproof.callbacks.lightning import EdgeproofExport

    class Lit(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = tiny()

        def training_step(self, batch: Any) -> torch.Tensor:
            self.log("epoch_number", float(self.current_epoch))
            return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    torch.manual_seed(0)
    batches = DataLoader(TensorDataset(torch.randn(8, 3, 16, 16), torch.arange(8) % 5), batch_size=4)
    keeper = ModelCheckpoint(tmp_path, monitor="epoch_number", mode="min")  # the first epoch's are the best
    callback = EdgeproofExport(
        tmp_path / "lit.edge", best=best, transform=TRANSFORM, labels=list("abcde"), gate_images=4, golden_images=2
    )
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    module = Lit()
    lightning.Trainer(max_epochs=2, callbacks=[callback, keeper], **quiet).fit(module, batches)
    assert callback.exported is not None
    (case, *_) = callback.exported.bundle.golden()
    if best:
        kept = torch.load(keeper.best_model_path, weights_only=True)["state_dict"]
        module.load_state_dict(kept)
    with torch.inference_mode():
        expected = module.model.eval()(torch.from_numpy(case.tensor)[None]).numpy()
    np.testing.assert_allclose(case.outputs[0][None], expected, rtol=1e-4, atol=1e-5)


def test_best_without_a_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    from edgeproof.callbacks.lightning import EdgeproofExport

    callback = EdgeproofExport(tmp_path / "x.edge", best=True)
    trainer = SimpleNamespace(is_global_zero=True, checkpoint_callback=None)
    with pytest.raises(edgeproof.InputError, match="no best checkpoint"):
        callback.on_fit_end(trainer, tiny())
    callback.on_fit_end(SimpleNamespace(is_global_zero=False), tiny())
    assert callback.exported is None


def test_transformers_exports_with_the_processor(tmp_path: Path) -> None:
    """The hook as the Trainer calls it; the Trainer itself requires accelerate."""
    hf = pytest.importorskip("transformers")
    from edgeproof.callbacks.transformers import EdgeproofExport

    callback = EdgeproofExport(tmp_path / "vit.edge", gate_images=4, golden_images=2)
    model, processor = tiny_vit(hf)
    state = hf.TrainerState(is_world_process_zero=False)
    callback.on_train_end(None, state, None, model=model, processing_class=processor)
    assert callback.exported is None
    state.is_world_process_zero = True
    callback.on_train_end(None, state, None, model=model.train(), processing_class=processor)
    assert callback.exported is not None
    assert callback.exported.bundle.labels == ("cat", "dog")
    assert model.training
