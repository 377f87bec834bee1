"""Relative flatness of the last layer for each sample by itself, in closed form: what its sum over the data is of."""

from __future__ import annotations

from torch import Tensor

from ..losses.loss import Loss
from ..losses.own_loss import OwnLoss

NEEDED = "per_sample=True needs columns='exact', a loss of a closed form, and among the layers the one that gives the "
NEEDED += "outputs, linear and on vectors"


def check_per_sample(columns: str | int | float, loss: Loss | OwnLoss) -> None:
    """Raise ValueError where no layer can have it, whatever the network is."""
    if columns != "exact" or not isinstance(loss, Loss):
        raise ValueError(f"{NEEDED}; columns are {columns!r}, the loss a {type(loss).__name__}")


def relative_flatness_per_sample(weight: Tensor, phi: Tensor, lambda_: tuple[Tensor, Tensor]) -> Tensor:
    """||phi_i||^2 <W W^T, Lambda_i> of each sample, (n,) float64.

    weight (n_out, d), phi (n, d), and lambda_ = a and b (n, n_out) of Lambda_i = diag(a_i) - b_i b_i^T, the Hessian of
    sample i's loss in the outputs; ||phi_i||^2 Lambda_i is the trace matrix of that loss alone. Derived here.
    """
    a, b = (part.double() for part in lambda_)
    rows = weight.double()
    along = a @ rows.square().sum(1) - (b @ rows).square().sum(1)
    return phi.double().square().sum(1) * along
