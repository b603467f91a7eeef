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
if [[ -z "${PYTHON:-}" ]]; then  # an active environment, else the one that make has made
  PYTHON=python
  if [[ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" && -x "${VENV:-.venv}/bin/python" ]]; then
    PYTHON="${VENV:-.venv}/bin/python"
  fi
fi
exec "$PYTHON" train_mnist.py --config_file "$file" --config "$recipe" --random_seed "$seed" "$@"
