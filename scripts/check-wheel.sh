#!/usr/bin/env bash
# Installs the wheel of dist/ that suits a Python into a bare environment, verifies a bundle and classifies an image.
# Without BUNDLE the classifier among tests/golden's bundles; without IMAGE one of the bundle's golden frames.
# Usage: [BUNDLE=B.edge] [IMAGE=photograph.jpg] scripts/check-wheel.sh PYTHON FOLDER
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
home=$(mkdir -p "$2" && cd "$2" && pwd)
rm -rf "$home"
"$1" -m venv "$home"
python=$home/bin/python
"$python" -m pip install --quiet --disable-pip-version-check --no-compile --find-links dist --only-binary edgeproof \
  "edgeproof[onnxruntime]"
scripts/ensure-opencv.sh "$python"

bundle=${BUNDLE:-}
if [ -z "$bundle" ]; then
  "$python" -m zipfile -e tests/golden/bundles-0.1.0.zip "$home/bundles"
  bundle=$home/bundles/classify.edge
fi
bundle=$(realpath "$bundle")
images=("$bundle"/golden/*.png)
image=$(realpath "${IMAGE:-${images[0]}}")
cd "$home" # not the checkout: what is imported is what was installed
"$python" - "$root" <<'PYTHON'
import sys, edgeproof, edgeproof_runtime
from edgeproof_runtime import _native
for module in (edgeproof, edgeproof_runtime, _native):
    assert not module.__file__.startswith(sys.argv[1] + "/r"), module.__file__
print(f"== Python {sys.version.split()[0]}: edgeproof {edgeproof.__version__}, {_native.__file__.rpartition('/')[2]}")
PYTHON
"$home/bin/edgeproof" verify "$bundle" --engine onnxruntime
"$home/bin/edgeproof" run "$bundle" --source "$image" --engine onnxruntime
