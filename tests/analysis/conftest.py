"""Fixtures of records and ledgers; see synthetic.py."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import pytest

from tests.support.synthetic import synthetic_ledger, synthetic_records


@pytest.fixture
def records() -> pd.DataFrame:
    return synthetic_records()


@pytest.fixture
def make_records() -> Callable[..., pd.DataFrame]:
    return synthetic_records


@pytest.fixture
def make_ledger() -> Callable[..., pd.DataFrame]:
    return synthetic_ledger


@pytest.fixture(scope="module")
def module_records() -> pd.DataFrame:
    return synthetic_records()
