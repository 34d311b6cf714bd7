"""Use the predictor in a Ray Data pipeline of your own: `python ray_label.py BUNDLE FOLDER OUT`.

`edgeproof label --on ray` does this, resumes, and keeps actors and threads within the cores.
"""

from __future__ import annotations

import sys

import ray

from edgeproof.scale import Predictor


def main() -> None:
    """Label the images below a folder on two actors, and write Parquet files."""
    bundle, folder, out = sys.argv[1:]
    ray.init("local", num_cpus=3, include_dashboard=False)  # two for the actors, one for the readers
    images = ray.data.read_binary_files(folder, include_paths=True, file_extensions=["png"])
    labels = images.map_batches(
        Predictor,
        fn_constructor_args=(bundle,),
        fn_constructor_kwargs={"engine": "onnxruntime", "threads": 1},
        batch_size=64,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=2, max_size=2),
        num_cpus=1,
    )
    labels.write_parquet(out)


if __name__ == "__main__":
    main()
