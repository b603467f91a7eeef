"""Digits are enlarged once for all the runs of these tests."""

import functools

import pytest

import dataloader.digits.build
from dataloader.digits.single import embedded_digits

digits = functools.cache(embedded_digits)


@pytest.fixture(autouse=True)
def digits_are_enlarged_once(monkeypatch):
    monkeypatch.setattr(dataloader.digits.build, "embedded_digits", digits)
