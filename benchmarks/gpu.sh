#!/usr/bin/env bash
# All that only a GPU can show, in one call: bash benchmarks/gpu.sh PHOTOS WEIGHTS [key=value ...]
#   PHOTOS   folder of photographs, PHOTOS/CLASS/NAME.jpg, of which benchmarks/photographs.py makes two sets
#   WEIGHTS  DeiT-tiny's published weights, safetensors under timm's names
# Results: benchmarks/results/{cost,throughput}.* and weights/{photos,undo}_*/.
set -euo pipefail
if (($# < 2)); then
  echo "usage: bash benchmarks/gpu.sh PHOTOS WEIGHTS [key=value ...]" >&2
  exit 2
fi
photos=$1 weights=(model.pretrained=false "model.weights=$2")
shift 2
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON="${PYTHON:-python}"
groups=build/photographs/groups single=build/photographs/single # of all scales, and of scale 1 to learn from
[ -d "$groups" ] || "$PYTHON" -m benchmarks.photographs "$photos" "$groups"
[ -d "$single" ] || "$PYTHON" -m benchmarks.photographs "$photos" "$single" --train_scales 1 --val_scales .7 1 1.3

"$PYTHON" -m pytest -m gpu
"$PYTHON" -m benchmarks.cost --device cuda
"$PYTHON" -m benchmarks.throughput --data_dir "$groups" --device cuda model.pretrained=false
for seed in 70 71 72; do
  for suite in "photos_residual $single" "photos_frozen $single" "photos $groups"; do
    "$PYTHON" train_imagenet.py --config "${suite% *}" --data_dir "${suite#* }" --random_seed "$seed" --resume \
      "${weights[@]}" train.amp=bf16 data.workers=8 "$@"
  done
done
