"""How long does `edgeproof optimize` take for int8?

The command in a fresh process, with no step of an earlier run, on the photographs that the tests use: 500, half of
which calibrate; and 1,750 made of them by mirroring and cropping, of which 500 calibrate. Copies cost the same time as
other photographs; the accuracy on them is not the model's.

    python benchmarks/optimize_time.py [--bundle BUNDLE] [--data FOLDER] [--small] [--json FILE]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
from cold_start import run_once
from common import DATA, DEMO, Findings, output_flags

from edgeproof_runtime.data.images import find_images
from edgeproof_runtime.system.documents import read_document

LARGE, CALIBRATION = 1750, 500


def copies(source: Path, target: Path, count: int) -> Path:
    """Write `count` images of class folders: the images themselves, mirrored ones, then crops of 9 tenths."""
    files = find_images(source)[0]
    for number in range(count):
        file, kind = files[number % len(files)], number // len(files)
        image = cv2.imread(str(file))
        high, wide = image.shape[0] // 10, image.shape[1] // 10
        if kind in (2, 3):
            image = image[high:, wide:] if kind == 2 else image[:-high, :-wide]
        folder = target / file.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{file.stem}-{kind}.png"), image[:, ::-1] if kind == 1 else image)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=DEMO, help="from `make demo`, if not given")
    parser.add_argument("--data", type=Path, default=DATA / "imagenet-samples", help="class folders of the bundle")
    parser.add_argument("--small", action="store_true", help="only the images themselves")
    output_flags(parser)
    arguments = parser.parse_args()
    found = Findings("optimize_time", arguments)
    rows: list[list[object]] = []
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        sets = {"as they are": (arguments.data, 300)}
        if not arguments.small:
            sets["mirrored and cropped"] = (copies(arguments.data, folder / "data", LARGE), CALIBRATION)
        for name, (data, calibration) in sets.items():
            bundle = Path(shutil.copytree(arguments.bundle, folder / f"{len(rows)}.edge"))
            report = folder / f"{len(rows)}.json"
            command = ["-m", "edgeproof", "optimize", str(bundle), "--data", str(data), "--precision", "int8"]
            command += ["--calibration-pictures", str(calibration), "--work", str(folder / f"work{len(rows)}")]
            took_ms, peak_mb = run_once([sys.executable, *command, "--json", str(report)])
            counts = read_document(report)["counts"]
            used = [counts[key] for key in ("calibration_pictures", "validation_pictures")]
            rows.append([name, *used, took_ms / 1e3, peak_mb])
            results.append({"images": name, **counts, "took_s": took_ms / 1e3, "peak_mb": peak_mb})
    found.table("One run of each", ["photographs", "calibrate", "validate", "seconds", "peak MB"], rows)
    found.keep({"calibration": CALIBRATION}, results)


if __name__ == "__main__":
    main()
