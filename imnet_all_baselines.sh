#!/usr/bin/env bash
# The published ImageNet baselines: bash imnet_all_baselines.sh [key=value ...], with the variables of imagenet_dem.sh.
#   MODELS ("swin vit deit beit"), METHODS ("base aug equiv cannon"), EPOCHS (20) choose others.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
for model in ${MODELS:-swin vit deit beit}; do
  for method in ${METHODS:-base aug equiv cannon}; do
    # --resume goes on with a run that was broken off, and leaves a finished one as it is
    bash imagenet_baselines.sh "$model" "${method}_$model" "${EPOCHS:-20}" --resume "$@"
  done
done
