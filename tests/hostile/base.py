"""The sound artifacts that hostile inputs are made from: one of each kind, made once per run."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

__all__ = ["BASE_VARIABLE", "base", "copy", "make_base"]

BASE_VARIABLE = "EDGEPROOF_HOSTILE_BASE"


def base() -> Path:
    """Return the folder of sound artifacts."""
    return Path(os.environ[BASE_VARIABLE])


def copy(folder: Path, *names: str) -> Path:
    """Copy artifacts into a folder; returns the first."""
    for name in names:
        source = base() / name
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True, dirs_exist_ok=True)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name)
    return folder / names[0]


def make_base(folder: str) -> None:
    """Write all artifacts into a new folder."""
    import cv2
    import numpy as np
    import onnx
    import torch
    from safetensors.torch import save_file

    from bundles import (
        LABELS,
        frames,
        make_bundle,
        make_defect_bundle,
        make_multilabel_bundle,
        tiny_onnx,
        write_clip,
        write_sorted,
    )
    from edgeproof import bench, evaluate

    root = Path(folder)
    root.mkdir(parents=True)
    bundle = make_bundle(root / "good.edge")
    make_multilabel_bundle(root / "many.edge")
    make_defect_bundle(root / "defect.edge")
    onnx.save(tiny_onnx(), str(root / "model.onnx"))
    (root / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    write_clip(root / "clip.mp4")
    pictures = root / "pics"
    pictures.mkdir()
    for number, frame in enumerate(frames(4)):
        cv2.imwrite(str(pictures / f"{number}.png"), frame)
    for extension in ("jpg", "png", "bmp", "webp", "tiff"):
        cv2.imwrite(str(root / f"picture.{extension}"), frames(1)[0])
    np.save(root / "picture.npy", frames(1)[0])
    write_sorted(root / "data", bundle)
    files = sorted((root / "data").rglob("*.png"))
    labels = [LABELS.index(file.parent.name) for file in files]
    np.savez(
        root / "data.npz",
        x_test=np.stack([cv2.resize(cv2.imread(str(f)), (20, 20)) for f in files]),
        y_test=np.array(labels),
    )
    with (root / "data" / "rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label"))
        writer.writerows((str(f.relative_to(root / "data")), f.parent.name) for f in files)
    (root / "data" / "rows.csv").rename(root / "rows.csv")
    with tarfile.open(root / "data.tar", "w") as tar:
        for number, file in enumerate(files):
            tar.add(file, f"{number:03}.png")
            label = root / "label.cls"
            label.write_text(str(labels[number]))
            tar.add(label, f"{number:03}.cls")
            label.unlink()
    _parquet(root / "data.parquet", files)
    report = evaluate(root / "good.edge", str(root / "data"), engine="onnxruntime", evidence=False, threads=1)
    report.write(root / "report.json")
    with tempfile.TemporaryDirectory() as spare:  # a benchmark keeps its report in the bundle
        shutil.copytree(root / "good.edge", Path(spare, "good.edge"))
        bench(Path(spare, "good.edge"), engine="onnxruntime", duration_s=0.2).write(root / "bench.json")
    (root / "streams.toml").write_text('[door]\nsource = "clip.mp4"\n\n[gate]\nsource = "pics"\nrotate = 90\n')
    (root / "times.json").write_text(json.dumps([{"inMs": 0.1, "computeMs": 1.0, "outMs": 0.1, "latencyMs": 1.2}] * 20))

    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 5),
    ).eval()
    example = torch.zeros(2, 3, 16, 16)
    batch = torch.export.Dim("batch", min=1, max=64)
    torch.export.save(torch.export.export(module, (example,), dynamic_shapes=({0: batch},)), root / "model.pt2")
    torch.jit.save(torch.jit.trace(module, example), root / "script.pt")
    torch.save(module.state_dict(), root / "weights.pth")
    torch.save({"state_dict": module.state_dict(), "epoch": 3}, root / "weights.ckpt")
    save_file(module.state_dict(), root / "weights.safetensors")


def _parquet(path: Path, files: list[Path]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    images = [{"bytes": file.read_bytes(), "path": None} for file in files]
    pq.write_table(pa.table({"image": images, "label": [file.parent.name for file in files]}), path)
