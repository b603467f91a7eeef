#!/usr/bin/env bash
# One MNIST run: bash run_mnist.sh FILE RECIPE SEED [option or key=value ...], see python train_mnist.py --help.
set -euo pipefail
if (($# < 3)); then
  echo "usage: bash run_mnist.sh FILE RECIPE SEED [key=value ...]    (bash run_mnist.sh config_1.yaml ada_swin_dem 42)" >&2
  exit 2
fi
file=$1 recipe=$2 seed=$3
shift 3
cd "$(dirname "${BASH_SOURCE[0]}")"
exec "${PYTHON:-python}" train_mnist.py --config_file "$file" --config "$recipe" --random_seed "$seed" "$@"
