"""Locally scaled MNIST, under the name that others know it by."""

from dataloader.digits.items import LocallyScaledMNIST

__all__ = ["LocallyScaledMNIST"]
