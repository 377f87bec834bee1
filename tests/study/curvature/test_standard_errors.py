"""What trace estimators state as their standard error, against how far they are off, on matrices of known spectra."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from study.curvature.matrix.estimators import Estimate, _hutch, _xtrace


class Dense:
    """A symmetric matrix of this spectrum, in place of a network's."""

    def __init__(self, spectrum: torch.Tensor) -> None:
        self.n = len(spectrum)
        basis = torch.linalg.qr(torch.randn(self.n, self.n, generator=torch.Generator().manual_seed(0)).double()).Q
        self.dense = (basis * spectrum.double()) @ basis.T

    def product(self, vectors: torch.Tensor) -> torch.Tensor:
        return vectors @ self.dense


_RANK = torch.arange(1, 101)
_SPECTRA = {
    "geometric": 0.7**_RANK,
    "square": 1 / _RANK**2,
    "root": 1 / _RANK**0.5,
    "flat": 1 + 0.01 * _RANK,
    "step": torch.where(_RANK <= 10, 1.0, 0.01),
    "indefinite": torch.where(_RANK <= 10, 5.0, torch.cos(_RANK.float())),
}


@pytest.mark.parametrize("name", _SPECTRA)
@pytest.mark.parametrize("n_products", [12, 20, 60])
@pytest.mark.parametrize(("estimator", "low", "high"), [(_hutch, 0.85, 1.15), (_xtrace, 0.7, 1.6)])
def test_standard_errors_over_spectra(
    estimator: Callable[..., Estimate], low: float, high: float, n_products: int, name: str
) -> None:
    matrix, generator = Dense(_SPECTRA[name]), torch.Generator().manual_seed(1)
    runs = [estimator(matrix, n_products, generator) for _ in range(400)]
    true = torch.tensor([run.value for run in runs]).sub(float(_SPECTRA[name].sum())).square().mean().sqrt()
    stated = torch.tensor([run.standard_error for run in runs]).square().mean().sqrt()
    assert low < float(stated / true) < high
