#!/usr/bin/env bash
# The published MNIST experiments of one group, or of all, in an order in which warm starts find their parents.
#   CONFIGS_TO_RUN=data_aug_configs bash run_all_mnist.sh [key=value ...]
# Groups: base_configs data_aug_configs equiv_configs canon_configs ada_dem_configs all. SEEDS and CONFIG_FILE as below.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

base_configs="swin_transformer res_net vit dino beit deit"
data_aug_configs="swin_data_augmentation res_net_data_augmentation vit_data_augmentation
  dino_data_augmentation beit_data_augmentation deit_data_augmentation"
equiv_configs="swin_equiv res_net_equiv vit_equiv dino_equiv beit_equiv deit_equiv"
canon_configs="swin_cannonicalizion res_net_cannonicalization vit_cannonicalization
  dino_cannonicalization beit_cannonicalization deit_cannonicalization"
ada_dem_configs="ada_swin_dem ada_res_net_dem_1 ada_vit_dem_1 ada_dino_dem_1 ada_beit_dem ada_deit_dem_1"
all="$base_configs $data_aug_configs $equiv_configs $canon_configs $ada_dem_configs"

group="${CONFIGS_TO_RUN:-}"
if [[ -z "$group" ]]; then
  group=all
  echo "CONFIGS_TO_RUN is empty or not exported: running all groups"
fi
case "$group" in
  all | base_configs | data_aug_configs | equiv_configs | canon_configs | ada_dem_configs) ;;
  *)
    echo "CONFIGS_TO_RUN is '$group'; expected base_configs, data_aug_configs, equiv_configs, canon_configs," \
      "ada_dem_configs or all" >&2
    exit 2 ;;
esac

for seed in ${SEEDS:-70 71 72}; do
  for recipe in ${!group}; do
    # --resume goes on with a run that was broken off, and leaves a finished one as it is
    bash run_mnist.sh "${CONFIG_FILE:-config_1.yaml}" "$recipe" "$seed" --resume "$@"
  done
done
