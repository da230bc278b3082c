#!/bin/sh
# Everything that is promised of a GPU, measured in one go and printed as one table: at most ten minutes, no network.
#
#     sh benchmarks/gpu.sh [OUT]            from the repository root; OUT (.edgedistill/gpu) gets gpu.json, logs and rows
#
# Needs python3 with a CUDA build of torch and the packages of the [build] extra. With onnxruntime-gpu in the place of
# onnxruntime, and with TensorRT, a bundle is measured under them, too; without, those parts are not run. What is missing
# of open_clip_torch, ftfy and wcwidth is taken from wheels in $WHEELS (.wheels), fetched beforehand with
#
#     python3 -m pip download --no-deps -d .wheels open_clip_torch ftfy wcwidth
#
# Nothing is installed: the package is laid out as an installation would, in a folder that is gone at the end.
set -eu
out=${1:-.edgedistill/gpu}
mkdir -p "$out"
out=$(cd "$out" && pwd)
root=$(pwd)
python=${PYTHON:-python3}
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT

cp -r edgedistill "$site/edgedistill"
cp -r targets profiles "$site/edgedistill/"
if ! "$python" -c "import importlib.util, sys; sys.exit(not importlib.util.find_spec('open_clip'))"; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --target "$site" "${WHEELS:-.wheels}"/*.whl
fi
export PYTHONPATH="$site" HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
# From another folder: in this one, edgedistill/ without profiles/ and targets/ would be found first.
cd "$site"
"$python" "$root/benchmarks/gpu.py" --root "$root" --out "$out"
