"""The published ImageNet DECs, from their recipes."""

from __future__ import annotations

from hubconf import spec_of

DEM_SWIN = spec_of("dem_swin")
NETWORK = {  # one for all backbones
    "channels": DEM_SWIN.channels,
    "kernel_sizes": DEM_SWIN.kernel_sizes,
    "pools": DEM_SWIN.pools,
}
