"""The published ImageNet DECs, from their recipes."""

from __future__ import annotations

from hubconf import settings

NETWORK = {name: settings("dem_swin")[name] for name in ("channels", "kernel_sizes", "pools")}  # one for all backbones
