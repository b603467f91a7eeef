#!/usr/bin/env bash
# All that only a GPU can show, in one call: bash benchmarks/gpu.sh PHOTOS WEIGHTS [key=value ...]
#   PHOTOS   the multi-scale set of benchmarks/photographs.py
#   WEIGHTS  DeiT-tiny's published weights, safetensors under timm's names
# Results: benchmarks/results/{cost,throughput}.* and weights/photos*/.
set -euo pipefail
if (($# < 2)); then
  echo "usage: bash benchmarks/gpu.sh PHOTOS WEIGHTS [key=value ...]" >&2
  exit 2
fi
photos=$1 weights=(model.pretrained=false "model.weights=$2")
shift 2
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON="${PYTHON:-python}"
"$PYTHON" -m pytest -m gpu
"$PYTHON" -m benchmarks.cost --device cuda
"$PYTHON" -m benchmarks.throughput --data_dir "$photos" --device cuda model.pretrained=false
for seed in 70 71; do
  "$PYTHON" train_imagenet.py --config photos --data_dir "$photos" --random_seed "$seed" --resume "${weights[@]}" \
    train.amp=bf16 data.workers=8 "$@"
done
