#!/usr/bin/env bash
# One ImageNet run: bash imagenet_dem.sh MODEL RECIPE EPOCHS [option or key=value ...]. MODEL is swin, vit, deit, beit,
# resnet, dinov2 or any timm name; RECIPE is in config/adapter_config.yaml. Variables:
#   DATA_DIR         folder that holds train/ and val/                               (data/multi_scale_imagenet)
#   MULTI_SCALE_DIR  folder whose val/ holds the groups, if DATA_DIR is plain ImageNet               (not set)
#   NPROC            processes on this machine, one per GPU                                                (1)
#   TORCHRUN_ARGS    of torchrun, for several machines: "--nnodes 4 --rdzv_backend c10d --rdzv_endpoint HOST:29500"
set -euo pipefail
if (($# < 3)); then
  echo "usage: bash $(basename "$0") MODEL RECIPE EPOCHS [key=value ...]    (bash imagenet_dem.sh swin dem_swin 20)" >&2
  exit 2
fi
model=$1 recipe=$2 epochs=$3
shift 3
case "$model" in
  swin) backbone=swin_tiny_patch4_window7_224.ms_in1k ;;
  vit) backbone=vit_little_patch16_reg4_gap_256.sbb_in1k ;;
  deit) backbone=deit_tiny_patch16_224.fb_in1k ;;
  beit) backbone=beitv2_base_patch16_224.in1k_ft_in22k_in1k ;;
  resnet) backbone=resnet50.a1_in1k ;;
  dinov2) backbone=vit_small_patch14_reg4_dinov2.lvd142m ;;
  *) backbone=$model ;;
esac
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
data=${DATA_DIR:-$here/data/multi_scale_imagenet} groups=${MULTI_SCALE_DIR:-}
[[ "$data" == /* ]] || data=$PWD/$data
[[ -z "$groups" || "$groups" == /* ]] || groups=$PWD/$groups
cd "$here"
if [[ -z "${PYTHON:-}" ]]; then  # an active environment, else the one that make has made
  PYTHON=python
  if [[ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" && -x "${VENV:-.venv}/bin/python" ]]; then
    PYTHON="${VENV:-.venv}/bin/python"
  fi
fi
start=("$PYTHON")
if ((${NPROC:-1} > 1)) || [[ -n "${TORCHRUN_ARGS:-}" ]]; then
  # shellcheck disable=SC2206  # several words
  start+=(-m torch.distributed.run ${TORCHRUN_ARGS:---standalone} --nproc_per_node "${NPROC:-1}")
fi
exec "${start[@]}" train_imagenet.py --config "$recipe" --data_dir "$data" \
  ${groups:+--multi_scale_dir "$groups"} "model.backbone=$backbone" "train.epochs=$epochs" "$@"
