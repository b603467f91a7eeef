#!/usr/bin/env bash
# The published ImageNet DEC runs: bash imnet_all_dem.sh [key=value ...], with the variables of imagenet_dem.sh.
#   MODELS ("vit swin deit beit"), METHODS ("dem") and EPOCHS (20) choose others.
MODELS="${MODELS:-vit swin deit beit}" METHODS="${METHODS:-dem}" \
  exec bash "$(dirname "${BASH_SOURCE[0]}")/imnet_all_baselines.sh" "$@"
