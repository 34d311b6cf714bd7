"""The same five images and classes in every form of dataset."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from coloured import encoded

LABELS = ("ants", "bees", "moths")
WHICH = (2, 0, 1, 1, 0)
FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": ["moths", "bees", "ants"], "_type": "ClassLabel"},
}


def images(root: Path) -> list[str]:
    (root / "images").mkdir(parents=True, exist_ok=True)
    for number, which in enumerate(WHICH):
        (root / "images" / f"{number}.png").write_bytes(encoded(which, number))
    return [f"images/{number}.png" for number in range(len(WHICH))]


def write_csv(root: Path) -> Path:
    rows = [("path", "label"), *((name, LABELS[which]) for name, which in zip(images(root), WHICH, strict=True))]
    return table(root / "d.csv", rows, ",")


def write_tsv(root: Path) -> Path:
    rows = [("split", "filename", "class")]
    rows += [("train", "images/0.png", "bees")]
    names = images(root)
    (root / "images" / "extra.png").write_bytes(encoded(0))
    rows += [("test", name, LABELS[which]) for name, which in zip(names, WHICH, strict=True)]
    rows[1] = ("train", "images/extra.png", "ants")
    return table(root / "d.tsv", rows, "\t")


def table(path: Path, rows: list[tuple[str, ...]], delimiter: str) -> Path:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    path.write_text(text.getvalue())
    return path


def write_piped_csv(root: Path) -> Path:
    """Absolute paths, and another separator than the suffix says."""
    names = [str(root / name) for name in images(root)]
    return table(
        root / "d.csv", [("image", "class"), *zip(names, (LABELS[which] for which in WHICH), strict=True)], "|"
    )


def write_bare_csv(root: Path) -> Path:
    """No header, as `pandas.to_csv(header=False)` writes."""
    return table(root / "d.csv", list(zip(images(root), (LABELS[which] for which in WHICH), strict=True)), ",")


def write_float_numbers(root: Path) -> Path:
    """Class indices as pandas writes them where a cell of the column was empty."""
    rows = [("image", "target"), *((name, f"{which}.0") for name, which in zip(images(root), WHICH, strict=True))]
    return table(root / "d.csv", rows, "\t")


def write_one_hot(root: Path) -> Path:
    """A column per class, as ISIC and Kaggle write them."""
    rows = [("image", *LABELS)]
    rows += [
        (name, *("1.0" if which == column else "0.0" for column in range(len(LABELS))))
        for name, which in zip(images(root), WHICH, strict=True)
    ]
    return table(root / "d.csv", rows, ",")


def write_numbers(root: Path) -> Path:
    """Class indices instead of names."""
    rows = [("image", "target"), *((name, str(which)) for name, which in zip(images(root), WHICH, strict=True))]
    return table(root / "d.csv", rows, ";")


def write_json(root: Path) -> Path:
    entries = {name: LABELS[which] for name, which in zip(images(root), WHICH, strict=True)}
    (root / "d.json").write_text(json.dumps(entries))
    return root / "d.json"


def write_jsonl(root: Path) -> Path:
    """Hugging Face's ``metadata.jsonl`` beside the images."""
    folder = root / "test"
    images(folder)
    lines = [json.dumps({"file_name": f"images/{n}.png", "label": LABELS[which]}) for n, which in enumerate(WHICH)]
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return root


def write_list(root: Path) -> Path:
    lines = [f"{name} {which}" for name, which in zip(images(root), WHICH, strict=True)]
    (root / "val.txt").write_text("\n".join(lines))
    return root / "val.txt"


def write_kaggle(root: Path) -> Path:
    """``val.csv`` beside ``val/``, ``test/`` without labels."""
    names = [name.removeprefix("images/") for name in images(root)]
    (root / "images").rename(root / "val")
    (root / "test").mkdir()
    (root / "test" / "9.png").write_bytes(encoded(0))
    rows = [("image", "label"), *((name, LABELS[which]) for name, which in zip(names, WHICH, strict=True))]
    table(root / "val.csv", rows, ",")
    return root


def write_coco(root: Path) -> Path:
    images(root)
    document = {
        "images": [{"id": 10 + n, "file_name": f"{n}.png"} for n in range(len(WHICH))],
        "categories": [{"id": 7 * which + 1, "name": name} for which, name in enumerate(LABELS)],
        "annotations": [
            {
                "id": n,
                "image_id": 10 + n % len(WHICH),
                "category_id": 7 * WHICH[n % len(WHICH)] + 1,
                "bbox": [0, 0, 1, 1],
            }
            for n in range(2 * len(WHICH))
        ],
    }
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(document))
    return root / "annotations" / "instances_val2017.json"


def arrow_table(**changes: Any) -> Any:
    own = [FEATURES["label"]["names"].index(LABELS[which]) for which in WHICH]  # type: ignore[attr-defined]
    columns = {
        "image": [{"bytes": encoded(which, n), "path": None} for n, which in enumerate(WHICH)],
        "label": own,
        **changes,
    }
    metadata = {"huggingface": json.dumps({"info": {"features": FEATURES}})}
    return pa.table(columns).replace_schema_metadata(metadata)


def write_parquet(root: Path) -> Path:
    """As on the Hub: shards below ``data``, small row groups."""
    (root / "data").mkdir(parents=True)
    whole = arrow_table()
    pq.write_table(whole.slice(0, 1), root / "data" / "train-00000-of-00001.parquet")
    pq.write_table(whole.slice(0, 3), root / "data" / "test-00000-of-00002.parquet", row_group_size=2)
    pq.write_table(whole.slice(3), root / "data" / "test-00001-of-00002.parquet")
    return root


def write_saved(root: Path) -> Path:
    """What ``DatasetDict.save_to_disk`` writes."""
    for split in ("train", "test"):
        folder = root / split
        folder.mkdir(parents=True)
        with pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as sink:
            plain = arrow_table().replace_schema_metadata(None)
            with pa.ipc.new_stream(sink, plain.schema) as writer:
                writer.write_table(plain, max_chunksize=2)
        (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
        (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))
    (root / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    return root


def write_tar(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for shard in (0, 1):
        with tarfile.open(root / f"test-{shard:06}.tar", "w") as tar:
            for number, which in enumerate(WHICH):
                if (number > 2) == bool(shard):
                    member(tar, f"sub/{number:03}.png", encoded(which, number))
                    if number % 2:
                        member(tar, f"sub/{number:03}.cls", str(which).encode())
                    else:
                        member(tar, f"sub/{number:03}.json", json.dumps({"label": which}).encode())
    return root


def member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


WRITERS: tuple[Callable[[Path], Path], ...] = (
    write_csv,
    write_tsv,
    write_numbers,
    write_json,
    write_jsonl,
    write_list,
    write_kaggle,
    write_coco,
    write_parquet,
    write_saved,
    write_tar,
)
# Other ways to write some of these.
VARIANTS: tuple[Callable[[Path], Path], ...] = (write_piped_csv, write_bare_csv, write_float_numbers, write_one_hot)
