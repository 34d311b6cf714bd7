"""Label a folder of images with Spark: `python spark_label.py BUNDLE FOLDER OUT`, on this machine's cores.

Requires pyspark and Java 17. On a cluster leave out `master`; every worker must have edgeproof and the bundle.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from pyspark.ml.functions import predict_batch_udf
from pyspark.sql import SparkSession
from pyspark.sql.types import StructType

from edgeproof.scale import Predictor

COLUMNS = {
    "label": "string",
    "probability": "double",
    "sha256": "string",
    "engine": "string",
    "bundle": "string",
    "error": "string",
}


def make_predict(bundle: str) -> Callable[[], Callable[[Any], dict[str, Any]]]:
    """Return what Spark calls once in every worker process: it opens the bundle and replays its golden cases there."""
    predictor = Predictor(bundle, engine="onnxruntime")

    def predict(content: Any) -> dict[str, Any]:
        found = predictor.predict(content)
        return {name: found[name] for name in COLUMNS}

    return lambda: predict


def main() -> None:
    """Label the images below a folder, and write Parquet files."""
    bundle, folder, out = sys.argv[1:]
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    cores = os.cpu_count() or 1
    spark = (
        SparkSession.builder.master(f"local[{cores}]").config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1").config("spark.ui.enabled", "false").getOrCreate()
    )  # fmt: skip
    row = StructType()
    for name, kind in COLUMNS.items():
        row = row.add(name, kind)
    images = (
        spark.read.format("binaryFile").option("recursiveFileLookup", True).option("pathGlobFilter", "*.png")
        .load(folder).repartition(cores)
    )  # fmt: skip
    predict = predict_batch_udf(make_predict(bundle), return_type=row, batch_size=256)
    images.select("path", predict("content").alias("found")).select("path", "found.*").write.parquet(out)
    spark.stop()


if __name__ == "__main__":
    main()
