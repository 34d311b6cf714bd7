"""What do the recipes reach, in how long? Each row is one `edgeproof train` in a process of its own.

Processor time is what the training itself used (user and system, all threads), without reading and judging; half of
it is about the wall time on two idle cores, which a busy machine cannot show.

    python benchmarks/training.py [--only cnn,lenet] [--mnist mnist.npz] [--out DIR] [--json FILE] [--write]

CIFAR-10 (20,000 training pictures) and ResNet-20's weights are real data, see CONTRIBUTING; MNIST is an ``.npz`` in
Keras' layout that one brings.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import DATA, Findings, output_flags

CIFAR10 = DATA / "cifar10/cifar10.npz"
RESNET20 = DATA / "weights/resnet20-12fca82f.th"
ROWS: dict[str, tuple[str, list[str]]] = {
    "cnn adam batch 64": ("cnn", []),
    "cnn adam batch 32": ("cnn", ["--batch", "32"]),
    "cnn adam batch 128": ("cnn", ["--batch", "128"]),
    "cnn sgd": ("cnn", ["--optimizer", "sgd"]),
    "cnn adamw": ("cnn", ["--optimizer", "adamw"]),
    "cnn mse": ("cnn", ["--loss", "mse"]),
    "resnet20 fine-tuned": ("resnet20", ["--weights", str(RESNET20), "--epochs", "1"]),
    "lenet": ("lenet", []),
}


def train(recipe: str, data: Path, more: list[str], folder: Path) -> dict[str, Any]:
    """One training's report."""
    command = [sys.executable, "-m", "edgeproof", "train", recipe, "--data", str(data), "--out", str(folder), *more]
    subprocess.run([*command, "--force", "--seed", "0"], check=True, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="rows whose names start so, separated by commas")
    parser.add_argument("--mnist", type=Path, help="for lenet")
    parser.add_argument("--out", type=Path, help="keep the checkpoints here")
    output_flags(parser)
    arguments = parser.parse_args()
    found = Findings("training", arguments)
    wanted = tuple((arguments.only or "").split(","))
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, (recipe, more) in ROWS.items():
            data = arguments.mnist if recipe == "lenet" else CIFAR10
            if not name.startswith(wanted) or data is None:
                continue
            report = train(recipe, data, more, (arguments.out or Path(temporary)) / name.replace(" ", "-"))
            accuracy, training = report["accuracy"], report["training"]
            results.append(
                {
                    "name": name,
                    "top1": accuracy["top1"],
                    "f1": accuracy["f1"],
                    "ece": training["calibration"]["ece"],
                    "epochs": report["counts"]["epochs"],
                    "wall_s": training["elapsed_s"],
                    "cpu_s": training["cpu_s"],
                    "settings": report["settings"],
                }
            )
            print(f"{name}: {accuracy['top1']:.2%}", file=sys.stderr)
    found.table(
        "training, judged on the 10,000 test pictures",
        ["", "top-1 %", "F1 macro %", "calibration error %", "epochs", "wall s", "cpu s", "cpu s / 2"],
        [
            [
                row["name"],
                f"{100 * row['top1']:.2f}",
                f"{100 * row['f1']:.2f}",
                f"{100 * row['ece']:.2f}",
                row["epochs"],
                f"{row['wall_s']:.0f}",
                f"{row['cpu_s']:.0f}",
                f"{row['cpu_s'] / 2:.0f}",
            ]
            for row in results
        ],
    )
    found.keep({"seed": 0}, results)


if __name__ == "__main__":
    main()
