"""Scale-equivariant networks as timm models: ``import models.scale_zoo`` makes them known to ``timm.create_model``."""

from __future__ import annotations

from models.scale_zoo import mnist3 as mnist3
from models.scale_zoo import stir2 as stir2
from models.scale_zoo import wrn16_8 as wrn16_8
