#!/usr/bin/env bash
# One ImageNet baseline: bash imagenet_baselines.sh MODEL RECIPE EPOCHS [key=value ...], with the words and variables of
# imagenet_dem.sh; what differs between the two published scripts stands in the recipes.
exec bash "$(dirname "${BASH_SOURCE[0]}")/imagenet_dem.sh" "$@"
