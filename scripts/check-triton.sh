#!/usr/bin/env bash
# Serves repositories of `edgeproof triton` in a real Triton: that of PyPI's nvidia-pytriton, which has the Python backend alone,
# on the CPU and on loopback. `verify --url` must pass over HTTP and gRPC for every task, int8, frames and a fixed batch, the
# outputs must equal the Python API's bit for bit, and a channel swap must fail with its hop named.
# Requires edgeproof with its dev extra in PYTHON (default .venv/bin/python), 3.9 to 3.13.
# Usage: [PYTHON=.venv/bin/python] scripts/check-triton.sh [FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(realpath -m "${1:-build/triton}")
PYTHON=$(realpath -s "${PYTHON:-.venv/bin/python}")
mkdir -p "$work"
site() { "$1" -c 'import site; print(site.getsitepackages()[0])'; }

# The backend was built for NumPy 1: an environment of its own, which finds the rest in that of PYTHON.
if [ ! -e "$work/.installed" ]; then
  rm -rf "$work/venv"
  "$PYTHON" -m venv --without-pip "$work/venv"
  target=$(site "$work/venv/bin/python")
  "$PYTHON" -m pip install -q --no-deps --target "$target" nvidia-pytriton==0.7.0 'numpy<2'
  echo "import site; site.addsitedir('$(site "$PYTHON")')" >"$target/zz_outer.pth"
  touch "$work/.installed"
fi
server=$(site "$work/venv/bin/python")/pytriton/tritonserver
stub=$server/python_backend_stubs/$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')/triton_python_backend_stub
[ -e "$stub" ] || { echo "nvidia-pytriton has no backend for this Python: $stub" >&2; exit 3; }
rm -rf "$work/backends" "$work/run"
cp -r "$server/backends" "$work/backends"
cp "$stub" "$work/backends/python/"
chmod +x "$work/backends/python/triton_python_backend_stub" "$server/bin/tritonserver"
mkdir "$work/run"
cd "$work/run"

TESTS="$OLDPWD/tests" "$PYTHON" - <<'PYTHON'
import os, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, os.environ["TESTS"])
import numpy as np
from bundles import CONTRACT, LABELS, make_band_bundle, make_bundle, make_defect_bundle, make_generator_bundle, make_multilabel_bundle, write_sorted
from edgeproof_runtime.contract.contract import BatchBounds
write_sorted(Path("sorted"), make_bundle(Path("classify.edge")))
make_bundle(Path("four.edge"), replace(CONTRACT, batch=BatchBounds(4, 4, 4)))
make_multilabel_bundle(Path("multilabel.edge"))
make_defect_bundle(Path("anomaly.edge"))
make_band_bundle(Path("bands.edge"))
make_generator_bundle(Path("generate.edge"))
rng = np.random.default_rng(5)
arrays = {f"x_{part}": rng.integers(0, 256, (60, 20, 20, 3), dtype=np.uint8) for part in ("train", "test")}
np.savez("data.npz", **arrays, **{f"y_{part}": np.arange(60) % len(LABELS) for part in ("train", "test")})
PYTHON

edgeproof() { "$PYTHON" -m edgeproof "$@"; }
export EDGEPROOF_CACHE=$PWD/cache OMP_NUM_THREADS=1
edgeproof -q optimize classify.edge --data data.npz --precision int8 --max-drop 1 --force >optimize.log 2>&1 ||
  { cat optimize.log >&2; exit 1; }
write() { edgeproof -q triton "$@" --engine python >>written.log; }
for task in classify multilabel anomaly bands four; do write $task.edge --repository models; done
for task in classify anomaly bands; do write $task.edge --repository models --name $task-frames --image frame; done
write classify.edge --repository models --name int8 --precision int8
write generate.edge --repository models --preprocess client
write classify.edge --repository models --name client --preprocess client
write classify.edge --repository models --name swapped
sed -i 's/"rgb"/"bgr"/' models/swapped_pre/1/contract.json
rm models/swapped_pre/1/golden.npz # without it a model that preprocesses otherwise loads

free_port() { "$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
http=$(free_port) grpc=$(free_port)
libraries=$(dirname "$(dirname "$server")")/nvidia_pytriton.libs:$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')
LD_LIBRARY_PATH=$libraries PATH=$work/venv/bin:$PATH "$server/bin/tritonserver" --model-repository models \
  --backend-directory "$work/backends" --http-address 127.0.0.1 --http-port "$http" --grpc-address 127.0.0.1 --grpc-port "$grpc" \
  --backend-config=python,stub-timeout-seconds=300 --allow-metrics false --exit-timeout-secs 5 >server.log 2>&1 &
triton=$!
trap 'kill $triton 2>/dev/null || true; wait $triton || true' EXIT
for _ in $(seq 300); do
  "$PYTHON" -c "import urllib.request as r; r.urlopen('http://127.0.0.1:$http/v2/health/ready', timeout=2)" 2>/dev/null && break
  kill -0 $triton || { grep -v '^[|+]' server.log | tail -40 >&2; exit 1; }
  sleep 1
done

for url in "http://127.0.0.1:$http" "grpc://127.0.0.1:$grpc"; do
  for model in classify multilabel anomaly bands four generate int8 client classify-frames anomaly-frames bands-frames; do
    bundle=${model%-frames}
    case $model in int8 | client) bundle=classify ;; esac
    edgeproof verify $bundle.edge --url "$url" --model $model >verify.log 2>&1 || { cat verify.log >&2; echo "$model failed on $url" >&2; exit 1; }
    echo "${url%%:*} $model: $(tail -1 verify.log)"
  done
  if edgeproof verify classify.edge --url "$url" --model swapped >verify.log 2>&1; then echo "a channel swap passed" >&2; exit 1; fi
  grep -q 'server preprocessing: differing_rows' verify.log && ! grep -q 'server network: ' verify.log || { cat verify.log >&2; exit 1; }
  echo "${url%%:*} swapped: failed, as it must: $(grep -o 'server preprocessing: differing_rows [0-9.]*' verify.log | head -1)"
done
edgeproof -q evaluate classify.edge --data sorted --url "http://127.0.0.1:$http" --batch 8 --min-top1 1 --json remote.json
edgeproof -q evaluate classify.edge --data sorted --engine onnxruntime --no-evidence --json here.json

"$PYTHON" - "127.0.0.1:$http" <<'PYTHON'
import json, sys
import numpy as np, tritonclient.http as client
from edgeproof import Bundle
from edgeproof_runtime.engines import load
server = client.InferenceServerClient(sys.argv[1])
for task in ("classify", "multilabel", "anomaly"):
    bundle = Bundle.open(f"{task}.edge")
    with load("onnxruntime", bundle.artifact()) as engine:
        for case, entry in zip(bundle.golden(), bundle.manifest.golden):
            image = client.InferInput("image", [1, 1], "BYTES")
            image.set_data_from_numpy(np.array([[bundle.read(entry.frame)]], object))
            answer = server.infer(task, [image])
            for output, expected in zip(bundle.manifest.outputs, engine.run(case.tensor[None])):
                np.testing.assert_array_equal(answer.as_numpy(output.name), expected)
    print(f"{task}: outputs equal the Python API's, bit for bit")
remote, here = (json.load(open(f"{name}.json"))["accuracy"] for name in ("remote", "here"))
assert remote == here, (remote, here)
print("evaluate --url: the same figures as on this machine")
server.close()
PYTHON
echo "Triton $(grep -o 'server_version *| *[0-9.]*' server.log | grep -o '[0-9.]*$'): all passed"
