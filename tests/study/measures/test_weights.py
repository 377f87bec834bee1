"""Which weights measures of weights are of, and which they have no value for."""

import math

import pytest
import torch
from torch import nn

from study.measures import MeasureContext, compute
from study.measures.perturbation.bound import displacement, weights_at
from tests.study.measures.test_measures import PERTURBS, toy


def of(model: nn.Module, shape: tuple[int, ...]) -> MeasureContext:
    x = torch.randn(30, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    initial = {name: p.detach() / 2 for name, p in model.named_parameters()}
    return MeasureContext(model.double().eval(), initial, x, model(x).argmax(1), "cross_entropy", "0" * 12)


class Tokens(nn.Module):
    """A sequence with an embedding of its places, which starts at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.zeros(5, 6))
        self.a, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.a(x + self.places).relu().mean(1))


def test_an_embedding_is_a_layer_and_weights_that_are_all_0_are_named() -> None:
    torch.manual_seed(0)
    ctx = of(Tokens(), (5, 6))
    assert compute("parameter_count", ctx)["value"] == 30 + 36 + 18
    assert list(compute("weight_norm_squared", ctx)["layers"]) == ["places", "a", "head"]
    for label in ("log_prod_of_fro", "log_sum_of_fro", "log_prod_of_spec", "fro_over_spec", "log_prod_of_spec_fft",
                  "fro_over_spec_fft"):  # fmt: skip
        with pytest.raises(ValueError, match="places: is all 0: allowed: weights whose norm"):
            compute(label, ctx)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_convolution_has_a_row_a_neuron(groups: int) -> None:
    torch.manual_seed(0)
    up = nn.ConvTranspose2d(2, 6, 2, groups=groups)
    ctx = of(nn.Sequential(up, nn.ReLU(), nn.Flatten(), nn.Linear(150, 3)), (2, 4, 4))
    kernel = up.weight.detach()
    rows = []
    for neuron in range(6):
        group, within = divmod(neuron, 6 // groups)
        first = group * (2 // groups)
        rows.append(kernel[first : first + 2 // groups, within].flatten())
    last = ctx.model[3].weight.detach()  # type: ignore[index]
    norms = [torch.linalg.svdvals(w)[0].item() for w in (torch.stack(rows), last)]
    assert compute("log_prod_of_spec", ctx)["value"] == pytest.approx(2 * sum(map(math.log, norms)), rel=1e-12)
    square = (kernel.square().sum() + last.square().sum()).item()
    assert compute("param_norm", ctx)["value"] == pytest.approx(square)
    for folded in ("true", "false"):  # the weights start at half of themselves
        torch.testing.assert_close(displacement(ctx, folded), weights_at(ctx, folded) / 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_of_16_bits_no_measure_that_moves_the_weights_has_a_value(dtype: torch.dtype) -> None:
    model, x, labels = toy("mlp", dtype)
    ctx = MeasureContext(model, {n: p.detach() for n, p in model.named_parameters()}, x, labels, "cross_entropy")
    assert {"keskar", "sharpness_max", "pac_bayes_flatness", "sharpness_flatness"} <= PERTURBS
    for label in PERTURBS:
        with pytest.raises(ValueError, match=f"0.weight: {dtype} rounds small .*: allowed: float32, float64"):
            compute(label, ctx)
