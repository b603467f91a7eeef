"""Networks that are built from the layers and from timm: DEC in any backbone, and the baselines."""
