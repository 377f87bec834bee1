"""Norms of the weights where the toys of test_measures.py have nothing to say: batch-norm, strides, other networks."""

import copy
import math
from typing import Any

import pytest
import torch
from scipy import linalg
from torch import nn

from study.measures import MEASURES, MeasureContext, compute
from study.models.registry import MODELS, build
from study.models.residual import BasicBlock
from study.transforms.folding import folded
from study.transforms.rescaling import last_two_layers
from tests.reference.measures import unrolled

FOLDED = ("param_norm", "log_prod_of_spec", "log_prod_of_spec_fft", "fro_over_spec", "path_norm")


def normed() -> nn.Sequential:
    """Two layers with batch-norm, one without a bias; its statistics are of no start."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(),
                          nn.Flatten(), nn.Linear(27, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))  # fmt: skip
    return drawn(model)


def drawn(model: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    for module in model.double().eval().modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                assert tensor is not None
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return model


def of(model: nn.Module, shape: tuple[int, ...] = (2, 6, 6)) -> MeasureContext:
    torch.manual_seed(2)
    x = torch.randn(9, *shape, dtype=torch.float64)
    initial = {n: 0.5 * p.detach() for n, p in model.named_parameters()}
    return MeasureContext(model, initial, x, model(x).argmax(1), "cross_entropy", key="0" * 12)


def test_norms_are_those_of_the_folded_network() -> None:
    """By hand: the rows of a layer times gamma / sqrt(var + eps), at the start with the statistics of the start."""
    ctx = of(normed())
    now = distance = 0.0
    for layer, norm in ((0, 1), (4, 5), (7, None)):
        w = ctx.model[layer].weight.detach()  # type: ignore[index]
        start = 0.5 * w
        if norm is not None:
            batch = ctx.model[norm]  # type: ignore[index]
            scale = batch.weight.detach() / (batch.running_var + batch.eps).sqrt()
            first = 0.5 * batch.weight.detach() / math.sqrt(1 + batch.eps)
            w, start = (torch.stack([f * row for f, row in zip(factor, v, strict=True)])
                        for factor, v in ((scale, w), (first, start)))  # fmt: skip
        now += w.square().sum().item()
        distance += (w - start).square().sum().item()
    assert compute("param_norm", ctx)["value"] == pytest.approx(now, rel=1e-12)
    assert compute("fro_distance", ctx)["value"] == pytest.approx(distance, rel=1e-12)
    assert compute("l2_distance", ctx)["value"] == pytest.approx(distance**0.5, rel=1e-12)
    assert sum(compute("weight_norm_squared", ctx)["layers"].values()) != pytest.approx(now, rel=0.1)


@pytest.mark.parametrize("label", FOLDED)
def test_weights_before_batch_norm_may_be_scaled(label: str) -> None:
    """With the running statistics moved along, eps too, the function is the same, and so is the folded network."""
    model, factor = normed(), 7.0
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight.mul_(factor)  # type: ignore[operator]
        other[1].running_mean.mul_(factor)  # type: ignore[operator]
        other[1].running_var.mul_(factor**2).add_((factor**2 - 1) * other[1].eps)  # type: ignore[operator]
    before, after = of(model), of(other)
    torch.testing.assert_close(before.logits, after.logits)
    assert compute(label, after)["value"] == pytest.approx(compute(label, before)["value"], rel=1e-9)


@pytest.mark.parametrize("projects", [True, False])
def test_folds_residual_blocks(projects: bool) -> None:
    block = BasicBlock(2, 4, 2, projects=projects, norm_momentum=0.1)
    ctx = of(drawn(nn.Sequential(block, nn.Flatten(), nn.Linear(36, 3))))
    torch.testing.assert_close(ctx.folded(ctx.x), ctx.logits)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in ctx.folded.modules())
    assert all(math.isfinite(compute(label, ctx)["value"]) for label in FOLDED)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("nin", {"depth": 2, "width": 4}),
        ("vgg", {"depth": 2, "width": 2, "norm": "batch"}),
        ("resnet", {"depth": 8, "width": 2}),
        ("resnet18", {"width": 2}),
    ],
)
def test_every_architecture_with_batch_norm_folds(name: str, options: dict[str, int | str]) -> None:
    chosen = MODELS.choose({name: options})
    ctx = of(drawn(build(chosen, (3, 32, 32), 3, (), init="default", gain=1.0, seed=0)), (3, 32, 32))
    assert all(math.isfinite(compute(label, ctx)["value"]) for label in FOLDED)


def test_of_rescaled_networks_they_are_those_of_all_layers() -> None:
    """Where batch-norm stands before the last layer, its scale is rescaled: the folded layer before it moves too."""
    ctx = of(normed())
    assert last_two_layers(ctx.model) == ("5", "7")
    for label in ("log_prod_of_fro", "log_prod_of_spec_fft", "fro_over_spec", "path_norm"):
        assert compute(f"{label}@factor_20", ctx)["value"] == pytest.approx(compute(label, ctx)["value"], rel=1e-9)
    assert compute("param_norm@factor_20", ctx)["value"] > 10 * compute("param_norm", ctx)["value"]


@pytest.mark.parametrize("after", ["", "@layerwise_1"])
def test_sums_over_layers_count_no_norm_layer(after: str) -> None:
    """The curvature pass has norm layers, too; of a rescaled network it has the rescaled layers alone."""
    ctx = of(normed())
    kept = compute("weight_norm_squared", ctx)["layers"]
    trace, noise, kappa = (
        {**compute(label, ctx)["layers"], **compute(label + after, ctx)["layers"]}
        for label in ("hessian_trace", "gradient_noise", "kappa_2019")
    )
    assert set(kept) == set(trace) == set(noise) == set(kappa) < set(ctx.curvature)
    ratio = sum(noise.values()) / sum(trace.values())
    assert compute("noise_over_trace" + after, ctx)["value"] == pytest.approx(ratio)
    index = sum(map(math.sqrt, kappa.values()))
    assert compute("weight_curvature" + after, ctx)["value"] == pytest.approx(index)


def test_a_batch_norm_that_cannot_be_folded_is_named() -> None:
    before = drawn(nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 3)))
    with pytest.raises(ValueError, match="the function was not preserved"):
        compute("param_norm", of(before))
    with pytest.raises(ValueError, match="0: no layer of 2 channels before it: batch-norm cannot be folded"):
        folded(nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 4, 1)))
    with pytest.raises(ValueError, match="1: has no running statistics"):
        folded(nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)))


@pytest.mark.parametrize(
    ("size", "kernel", "stride"),
    [((4, 6), (3, 2), 1), ((4, 6), (3, 3), 2), ((6, 3), (2, 1), 3), ((2, 2), (3, 3), 1), ((4, 4), (1, 1), 1)],
)
def test_a_convolution_has_the_norm_of_its_unrolled_matrix(
    size: tuple[int, int], kernel: tuple[int, int], stride: int
) -> None:
    """By scipy's singular values of the matrix; also where the kernel is larger than the image."""
    torch.manual_seed(3)
    layer = nn.Conv2d(2, 3, kernel, stride, padding=1, bias=False)
    ctx = of(nn.Sequential(layer, nn.Flatten()).double(), (2, *size))
    expected = linalg.svdvals(unrolled(layer.weight.detach(), size, stride).numpy())[0]
    assert compute("log_prod_of_spec_fft", ctx)["value"] == pytest.approx(2 * math.log(expected), rel=1e-10)


class Twice(nn.Module):
    """One convolution that runs at two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(nn.functional.max_pool2d(self.conv(x), 2))


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.Conv2d(2, 4, 3, groups=2), r"0: groups 2, dilation \(1, 1\), stride \(1, 1\) on \(6, 6\): allowed: 1,"),
        (nn.Conv2d(2, 4, 2, dilation=2), r"0: groups 1, dilation \(2, 2\)"),
        (nn.Conv2d(2, 4, 3, stride=4), r"stride \(4, 4\) on \(6, 6\)"),
        (nn.ConvTranspose2d(2, 4, 3), r"0: of type ConvTranspose2d: is no operator .* allowed: Conv2d, Linear"),
        (Twice(), r"0.conv: is run on images of \(6, 6\) and of \(3, 3\): allowed"),
    ],
)
def test_an_operator_without_this_norm_is_named(layer: nn.Module, said: str) -> None:
    ctx = of(nn.Sequential(layer, nn.Flatten()).double())
    with pytest.raises(ValueError, match=said):
        compute("log_prod_of_spec_fft", ctx)
    assert not layer._forward_hooks


@pytest.mark.parametrize("layer", [nn.Conv1d, nn.Conv3d])
def test_a_convolution_of_other_dimensions_is_no_operator_on_images(layer: type[nn.Module]) -> None:
    model = nn.Sequential(layer(2, 3, 3), nn.Flatten())  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=f"0: of type {layer.__name__}: .* allowed: Conv2d, Linear"):
        compute("fro_over_spec_fft", of(model.double(), (2, *[5] * int(layer.__name__[4]))))
    with pytest.raises(ValueError, match=f"0: of type {layer.__name__}"):
        MEASURES["fro_over_spec_fft"].check(model)  # type: ignore[misc]


def test_a_convolution_may_be_given_its_images_by_keyword() -> None:
    class Named(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[1](self[0](input=x))

    torch.manual_seed(0)
    parts = nn.Conv2d(2, 3, 3).double(), nn.Flatten()
    by_name, plain = (compute("log_prod_of_spec_fft", of(kind(*parts)))["value"] for kind in (Named, nn.Sequential))
    assert by_name == plain


def test_no_path_norm_of_a_network_without_paths() -> None:
    for module, said in (
        (nn.Tanh(), "path_norm: 1: Tanh: allowed: ReLU"),
        (nn.LayerNorm(4), "path_norm: 1: LayerNorm: "),
    ):
        ctx = of(nn.Sequential(nn.Linear(6, 4), module, nn.Linear(4, 3)).double(), (6,))
        with pytest.raises(ValueError, match=said):
            compute("path_norm", ctx)


@pytest.mark.parametrize("activation", [torch.tanh, nn.functional.gelu, lambda h: nn.functional.layer_norm(h, (4,))])
def test_no_path_norm_where_an_activation_that_is_no_module_bends_paths(activation: Any) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 4), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(activation(self.a(x)))

    with pytest.raises(ValueError, match="path_norm: outputs are not in proportion to the inputs: allowed: ReLU"):
        compute("path_norm", of(Own().double(), (6,)))


def test_what_is_added_need_not_be_called_bias() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.shift, self.b = nn.Linear(6, 4, bias=False), nn.Parameter(torch.ones(4)), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b((self.a(x) + self.shift).relu())

    torch.manual_seed(0)
    model = Shifted().double()
    biased = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    parts: Any = [(biased[0].weight, model.a.weight), (biased[0].bias, model.shift)]
    parts += [(biased[2].weight, model.b.weight), (biased[2].bias, model.b.bias)]
    with torch.no_grad():
        for ours, theirs in parts:
            ours.copy_(theirs)
    assert compute("path_norm", of(model, (6,)))["value"] == compute("path_norm", of(biased, (6,)))["value"]


@pytest.mark.parametrize("norm", [nn.SyncBatchNorm, nn.BatchNorm3d])
def test_every_batch_norm_is_folded(norm: type[nn.Module]) -> None:
    """The same function by one of two dimensions, with and without it."""
    images = norm is nn.SyncBatchNorm
    layer, shape = (nn.Conv2d, (2, 5, 5)) if images else (nn.Conv3d, (2, 5, 5, 5))
    torch.manual_seed(0)
    model = nn.Sequential(layer(2, 3, 3), norm(3), nn.ReLU(), nn.Flatten(), nn.Linear(27 if images else 81, 3))
    batch: Any = model[1].double().eval()
    for tensor in (batch.running_mean, batch.running_var, batch.weight.data, batch.bias.data):
        tensor.copy_(0.5 + torch.rand(tensor.shape))
    ctx = of(model.double().eval(), shape)
    first: Any = ctx.model[0]  # type: ignore[index]
    scale = (batch.weight / (batch.running_var + batch.eps).sqrt()).detach()
    rows = first.weight.detach().flatten(1) * scale[:, None]
    last = ctx.model[4].weight.detach()  # type: ignore[index]
    assert compute("param_norm", ctx)["value"] == pytest.approx(float(rows.square().sum() + last.square().sum()))
    assert isinstance(ctx.model[1], norm), "the network is as it was"  # type: ignore[index]


def test_of_a_convolution_that_is_not_run_there_is_no_operator() -> None:
    class Own(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[1](x)

    with pytest.raises(ValueError, match="0: is not run, and has no images to be an operator on"):
        compute("log_prod_of_spec_fft", of(Own(nn.Conv2d(2, 3, 3), nn.Flatten()).double()))


def test_over_a_margin_that_is_not_positive_is_missing() -> None:
    ctx = of(normed())
    ctx.labels = (ctx.labels + 1) % 3
    for label in ("log_prod_of_fro_over_margin", "log_spec_init", "path_norm_over_margin"):
        with pytest.raises(ValueError, match="percentile of the margins must be positive"):
            compute(label, ctx)
