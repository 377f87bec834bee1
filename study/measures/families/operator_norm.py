"""Measures of the layers' spectral norms, a convolution being the operator on images rather than its kernel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from study.measures.context import MeasureContext
from study.measures.families.spectral import squared_spectral
from study.measures.layer_weights import (
    displacements,
    inverse_margin_of,
    log_sum,
    positive,
    squared_frobenius,
    weights_of,
)
from study.measures.registry import measure

if TYPE_CHECKING:
    from torch import Tensor, nn


def check_operators(model: nn.Module) -> None:
    """Raises ValueError, naming it, for a convolution whose operator is not had, whatever images it is given."""
    for path, module in model.named_modules():
        _check_operator(path, module)


@measure("log_prod_of_spec_fft", check=check_operators)
def log_prod_of_spec_fft(ctx: MeasureContext) -> float:
    """As `log_prod_of_spec`, a convolution being the operator on images rather than its kernel.

    sum_l log sigma_l^2, sigma_l exact for the circular convolution of the layer's stride on its own input size: a
    strided one is one of stride 1 of the image's stride x stride pieces as channels. Method: Sedghi et al. 2019
    (1805.10408). Source: Jiang et al. 2020 (1912.02178), number 32 as read in the public code of Dziugaite et al. 2020
    (`LOG_PROD_OF_SPEC_FFT`), there of stride 1 and on the size of the images for all layers. Parameters: weights of
    layers as `parameter_count` has them, batch-norm folded in, no biases. Data: one sample, for the size of each
    layer's inputs. Fails (recorded as missing) for groups, dilation, a stride that does not divide that size, a layer
    that is run at two sizes, and convolutions other than Conv2d. Deterministic. Cost: a singular value decomposition a
    frequency, half of them left out by symmetry, one of a kernel of one pixel. Invariant: layer-wise, permutation,
    norm-layer.
    """
    return sum(math.log(v) for v in ctx.shared(_of_weights))


@measure("log_prod_of_spec_over_margin_fft", check=check_operators)
def log_prod_of_spec_over_margin_fft(ctx: MeasureContext) -> float:
    """As `log_prod_of_spec_over_margin`, convolutions as operators.

    log_prod_of_spec_fft - 2 log gamma. Source: Jiang et al. 2020 (1912.02178), number 31 as read in the public code of
    Dziugaite et al. 2020 (`LOG_PROD_OF_SPEC_OVER_MARGIN_FFT`), there as `log_prod_of_spec_fft` says. Parameters:
    weights of layers as `parameter_count` has them, batch-norm folded in, no biases. Data: training set, for the margin
    gamma of `inverse_margin`. Fails (recorded as missing) where that or `log_prod_of_spec_fft` does. Deterministic.
    Cost: as `log_prod_of_spec_fft`. Invariant: layer-wise, permutation, norm-layer.
    """
    return log_prod_of_spec_fft(ctx) + math.log(inverse_margin_of(ctx))


@measure("log_sum_of_spec_fft", check=check_operators)
def log_sum_of_spec_fft(ctx: MeasureContext) -> float:
    """As `log_sum_of_spec`, convolutions as operators.

    log d + log_prod_of_spec_fft / d, d the number of layers. Source: Jiang et al. 2020 (1912.02178), number 35 as read
    in the public code of Dziugaite et al. 2020 (`LOG_SUM_OF_SPEC_FFT`), there as `log_prod_of_spec_fft` says.
    Parameters: weights of layers as `parameter_count` has them, batch-norm folded in, no biases. Data: one sample, for
    the size of each layer's inputs. Fails (recorded as missing) where `log_prod_of_spec_fft` does. Deterministic. Cost:
    as `log_prod_of_spec_fft`. Invariant: layer-wise, permutation, norm-layer.
    """
    return log_sum(ctx, log_prod_of_spec_fft(ctx))


@measure("log_sum_of_spec_over_margin_fft", check=check_operators)
def log_sum_of_spec_over_margin_fft(ctx: MeasureContext) -> float:
    """As `log_sum_of_spec_over_margin`, convolutions as operators.

    log d + log_prod_of_spec_over_margin_fft / d, d the number of layers. Source: Jiang et al. 2020 (1912.02178), number
    34 as read in the public code of Dziugaite et al. 2020 (`LOG_SUM_OF_SPEC_OVER_MARGIN_FFT`), there as
    `log_prod_of_spec_fft` says. Parameters: weights of layers as `parameter_count` has them, batch-norm folded in, no
    biases. Data: training set, for the margin gamma of `inverse_margin`. Fails (recorded as missing) where that or
    `log_prod_of_spec_fft` does. Deterministic. Cost: as `log_prod_of_spec_fft`. Invariant: layer-wise, permutation,
    norm-layer.
    """
    return log_sum(ctx, log_prod_of_spec_over_margin_fft(ctx))


@measure("fro_over_spec_fft", check=check_operators)
def fro_over_spec_fft(ctx: MeasureContext) -> float:
    """As `fro_over_spec`, convolutions as operators.

    sum_l ||W_l||_F^2 / sigma_l^2, the norm of the kernel, sigma_l of the operator. Source: Jiang et al. 2020
    (1912.02178), number 33 as read in the public code of Dziugaite et al. 2020 (`FRO_OVER_SPEC_FFT`), there as
    `log_prod_of_spec_fft` says. Parameters: weights of layers as `parameter_count` has them, batch-norm folded in, no
    biases. Data: one sample, for the size of each layer's inputs. Fails (recorded as missing) where
    `log_prod_of_spec_fft` does. Deterministic. Cost: as `log_prod_of_spec_fft`. Invariant: layer-wise, permutation,
    norm-layer.
    """
    return _ratios(ctx, weights_of(ctx.folded))


@measure("log_spec_orig_fft", check=check_operators)
def log_spec_orig_fft(ctx: MeasureContext) -> float:
    """As `log_spec_orig`, convolutions as operators.

    log_prod_of_spec_over_margin_fft + log fro_over_spec_fft. Source: Jiang et al. 2020 (1912.02178), number 30 as read
    in the public code of Dziugaite et al. 2020 (`LOG_SPEC_ORIG_MAIN_FFT`), there as `log_prod_of_spec_fft` says.
    Parameters: weights of layers as `parameter_count` has them, batch-norm folded in, no biases. Data: training set,
    for the margin gamma of `inverse_margin`. Fails (recorded as missing) where that or `log_prod_of_spec_fft` does.
    Deterministic. Cost: as `log_prod_of_spec_fft`. Invariant: layer-wise, permutation, norm-layer.
    """
    return log_prod_of_spec_over_margin_fft(ctx) + math.log(fro_over_spec_fft(ctx))


@measure("log_spec_init_fft", check=check_operators)
def log_spec_init_fft(ctx: MeasureContext) -> float:
    """As `log_spec_init`, convolutions as operators.

    log_prod_of_spec_over_margin_fft + log sum_l ||W_l - W0_l||_F^2 / sigma_l^2. Source: Jiang et al. 2020 (1912.02178),
    number 29 as read in the public code of Dziugaite et al. 2020 (`LOG_SPEC_INIT_MAIN_FFT`), there as
    `log_prod_of_spec_fft` says. Parameters: weights of layers as `parameter_count` has them, batch-norm folded in, no
    biases. Data: training set, for the margin gamma of `inverse_margin`. Fails (recorded as missing) where that or
    `log_prod_of_spec_fft` does. Deterministic. Cost: as `log_prod_of_spec_fft`. Invariant: norm-layer.
    """
    return log_prod_of_spec_over_margin_fft(ctx) + math.log(_ratios(ctx, displacements(ctx)))


@measure("dist_spec_init_fft", check=check_operators)
def dist_spec_init_fft(ctx: MeasureContext) -> float:
    """As `dist_spec_init`, convolutions as operators.

    sum_l sigma_max(W_l - W0_l)^2. Source: Jiang et al. 2020 (1912.02178), number 41 as read in the public code of
    Dziugaite et al. 2020 (`DIST_SPEC_INIT_FFT`), there as `log_prod_of_spec_fft` says. Parameters: weights of layers as
    `parameter_count` has them, batch-norm folded in, no biases. Data: one sample, for the size of each layer's inputs.
    Fails (recorded as missing) where `log_prod_of_spec_fft` does. Deterministic. Cost: as `log_prod_of_spec_fft`.
    Invariant: norm-layer.
    """
    return sum(_squared_operator(ctx, displacements(ctx)))


def _of_weights(ctx: MeasureContext) -> list[float]:
    return positive(ctx, _squared_operator(ctx, weights_of(ctx.folded)))


def _ratios(ctx: MeasureContext, weights: list[Tensor]) -> float:
    pairs = zip(squared_frobenius(weights), ctx.shared(_of_weights), strict=True)
    return sum(square / norm for square, norm in pairs)


def _squared_operator(ctx: MeasureContext, weights: list[Tensor]) -> list[float]:
    """The squared spectral norm of each layer as an operator on what it is given, with these weights."""
    from torch import nn

    sizes = ctx.shared(_image_sizes)
    found = []
    for (name, parameter), weight in zip(_weights(ctx.folded), weights, strict=True):
        module = ctx.folded.get_submodule(name)
        if isinstance(module, nn.Conv2d):
            if name not in sizes:
                raise ValueError(
                    f"{name}: is not run, and has no images to be an operator on: allowed: layers that are"
                )
            found.append(_circular(name, module, weight.view_as(parameter), sizes[name]))
        else:
            _check_operator(name, module)
            found += squared_spectral([weight])
    return found


def _weights(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [(n.rpartition(".")[0], p) for n, p in model.named_parameters() if p.ndim >= 2]


def _image_sizes(ctx: MeasureContext) -> dict[str, tuple[int, int]]:
    """Height and width of what each convolution of the folded network is given."""
    import torch
    from torch import nn

    sizes: dict[str, tuple[int, int]] = {}

    def see(path: str, given: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        height, width = (given[0] if given else named["input"]).shape[-2:]
        if sizes.setdefault(path, (height, width)) != (height, width):
            said = f"is run on images of {sizes[path]} and of {(height, width)}"
            raise ValueError(f"{path}: {said}: allowed: layers that are run at one size")

    hooks = [
        m.register_forward_hook(lambda _, given, named, __, n=n: see(n, given, named), with_kwargs=True)
        for n, m in ctx.folded.named_modules()
        if isinstance(m, nn.Conv2d)
    ]
    try:
        with torch.no_grad():
            ctx.folded(ctx.x[:1].double())
    finally:
        for hook in hooks:
            hook.remove()
    return sizes


def _circular(path: str, layer: nn.Conv2d, kernel: Tensor, size: tuple[int, int]) -> float:
    """The squared largest singular value of a circular convolution on images of this size (height, width)."""
    import torch
    from torch.nn import functional

    _check_operator(path, layer, size)
    stride = layer.stride[0]
    missing = [-n % stride for n in kernel.shape[-2:]]
    pieces = functional.pixel_unshuffle(functional.pad(kernel, (0, missing[1], 0, missing[0])), stride)
    rows, columns = (_frequencies(n // stride, k) for n, k in zip(size, pieces.shape[2:], strict=True))
    rows, columns = rows.to(kernel.device), columns[: size[1] // stride // 2 + 1].to(kernel.device)  # real: symmetric
    transformed = torch.einsum("fa,oiab,gb->fgoi", rows, pieces.to(rows.dtype), columns)
    return torch.linalg.svdvals(transformed).max().square().item()


def _check_operator(path: str, layer: nn.Module, size: tuple[int, int] | None = None) -> None:
    """On images of this size (height, width), or of any; a layer that is no convolution is a matrix."""
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    if not isinstance(layer, _ConvNd):
        return
    if not isinstance(layer, nn.Conv2d):
        said = "is no operator on images"
        raise ValueError(f"{path}: of type {type(layer).__name__}: {said}: allowed: Conv2d, Linear")
    stride = layer.stride[0]
    fits = size is None or not any(n % stride for n in size)
    if layer.groups != 1 or layer.dilation != (1, 1) or layer.stride[1] != stride or not fits:
        on = f" on {size}" if size else ""
        raise ValueError(
            f"{path}: groups {layer.groups}, dilation {layer.dilation}, stride {layer.stride}{on}: "
            "allowed: 1, (1, 1), one stride that divides both"
        )


def _frequencies(n: int, pixels: int) -> Tensor:
    """exp(-2 pi i f a / n), frequencies f by pixels a of a kernel, larger than n or not; one f where all are alike."""
    import torch

    f = torch.arange(n if pixels > 1 else 1, dtype=torch.float64)
    return torch.exp(-2j * math.pi * torch.outer(f, torch.arange(pixels, dtype=torch.float64)) / n)
