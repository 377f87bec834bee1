"""Layers as plain products on a stack (networks, n, *shape), each with its derivative: what a chain is made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from study.models import pooled
from study.models.pooling import HalvingPool, halved_gradient, halved_in_pairs
from study.seams.optimizer import Stack

Back = Callable[[Tensor, Stack], Tensor | None]  # a layer's derivative, which puts those in its parameters into a stack
Step = tuple[Tensor, Back]
FEW = 16  # outputs, fewer than a processor's register holds
# Numbers in all patches of a batch, up to which they are written out for one product: a second level of cache, 1 MB.
# LeNet5's second convolution, forward and backward, on one core: 160 us in place of 290 at 4 images, no gain at 64.
WRITTEN_OUT = 2**18


def linear(h: Tensor, layer: nn.Linear, path: str, parameters: Stack, *, first: bool) -> Step:
    """A linear layer of every network; the `first` of a chain has no gradient in its inputs, which nobody asks for."""
    weight = parameters[f"{path}.weight"]

    def back(d: Tensor, found: Stack) -> Tensor | None:
        found[f"{path}.weight"] = _of_weight(h, d)
        if layer.bias is not None:
            found[f"{path}.bias"] = d.sum(1)
        return None if first else torch.bmm(d, weight)

    result = torch.bmm(h, weight.mT)
    if layer.bias is not None:
        result.add_(parameters[f"{path}.bias"].unsqueeze(1))
    return result, back


def _of_weight(h: Tensor, d: Tensor) -> Tensor:
    """d^T h. For few outputs as vmap takes it, (h^T d)^T: a CPU then rounds otherwise; for more it is as slow."""
    return torch.bmm(h.mT, d).mT if d.shape[-1] < FEW else torch.bmm(d.mT, h)


def convolution(h: Tensor, layer: nn.Conv2d, path: str, parameters: Stack, *, first: bool) -> Step:
    """A convolution of the only network of a stack, by torch's kernels or, of a small batch, by products of patches."""
    x, weight, bias = _alone(h, layer, path, parameters)
    if _is_small(x, layer):
        result, back = _by_patches(x, layer, weight, bias, first)
    else:
        result, back = _by_torch(x, layer, weight, bias, first)
    return result.unsqueeze(0), _stacked(back, path)


def pools(h: Tensor, layer: nn.Conv2d, behind: nn.Module | None) -> bool:
    """Whether a convolution is better taken together with what stands behind it."""
    return behind is not None and not _is_small(h[0], layer) and pooled.pays(layer, behind, h[0])


def pooled_convolution(h: Tensor, layer: nn.Conv2d, path: str, parameters: Stack, *, first: bool) -> Step:
    """A convolution and the pool behind it, of the only network of a stack."""
    x, weight, bias = _alone(h, layer, path, parameters)
    pixels = pooled.before_pooling(layer, x, weight, bias)
    rows, result = pooled.largest(pixels)

    def back(d: Tensor) -> _Gradients:
        kernels, spread = pooled.shifted(weight), pooled.gradient(pixels, rows, d).flatten(1, 2)
        sizes, asked = (None if bias is None else [len(kernels)]), [not first, True, bias is not None]
        of_x, of_weight, of_bias = torch.ops.aten.convolution_backward(
            spread, x, kernels, sizes, [2, 2], layer.padding, [1, 1], False, [0, 0], 1, asked
        )
        return of_x, pooled.unshifted(of_weight, weight.shape), of_bias if bias is None else of_bias.view(4, -1).sum(0)

    return result.unsqueeze(0), _stacked(back, path)


_Gradients = tuple[Tensor | None, Tensor, Tensor | None]  # in the inputs, the weight, the bias


def _alone(h: Tensor, layer: nn.Conv2d, path: str, parameters: Stack) -> tuple[Tensor, Tensor, Tensor | None]:
    """Inputs, weight and bias of the only network of a stack."""
    return h[0], parameters[f"{path}.weight"][0], None if layer.bias is None else parameters[f"{path}.bias"][0]


def _is_small(x: Tensor, layer: nn.Conv2d) -> bool:
    return x.device.type == "cpu" and _plain(layer) and _patches(x, layer).numel() <= WRITTEN_OUT


def _stacked(back: Callable[[Tensor], _Gradients], path: str) -> Back:
    """The derivative of the only network's layer as that of a stack's."""

    def stacked(d: Tensor, found: Stack) -> Tensor | None:
        of_x, of_weight, of_bias = back(d[0])
        found[f"{path}.weight"] = of_weight.unsqueeze(0)
        if of_bias is not None:
            found[f"{path}.bias"] = of_bias.unsqueeze(0)
        return None if of_x is None else of_x.unsqueeze(0)

    return stacked


def _by_torch(
    x: Tensor, layer: nn.Conv2d, weight: Tensor, bias: Tensor | None, first: bool
) -> tuple[Tensor, Callable[[Tensor], _Gradients]]:
    geometry = layer.stride, layer.padding, layer.dilation

    def back(d: Tensor) -> _Gradients:
        sizes, asked = (None if bias is None else [len(weight)]), [not first, True, bias is not None]
        found: _Gradients = torch.ops.aten.convolution_backward(
            d, x, weight, sizes, *geometry, False, [0, 0], layer.groups, asked
        )
        return found

    return functional.conv2d(x, weight, bias, *geometry, layer.groups), back  # type: ignore[arg-type]


def _by_patches(
    x: Tensor, layer: nn.Conv2d, weight: Tensor, bias: Tensor | None, first: bool
) -> tuple[Tensor, Callable[[Tensor], _Gradients]]:
    patches, flat, n = _patches(x, layer), weight.flatten(1), len(x)
    columns = patches.reshape(n, flat.shape[1], -1)

    def back(d: Tensor) -> _Gradients:
        d = d.flatten(2)
        of_weight = torch.bmm(d, columns.mT).sum(0).view(weight.shape)
        of_bias = None if bias is None else d.sum((0, 2))
        if first:
            return None, of_weight, of_bias
        spread = torch.bmm(flat.mT.expand(n, -1, -1), d)
        return functional.fold(spread, x.shape[2:], layer.kernel_size), of_weight, of_bias

    result = torch.bmm(flat.expand(n, -1, -1), columns)
    if bias is not None:
        result.add_(bias.unsqueeze(1))
    return result.view(n, len(weight), *patches.shape[4:]), back


def _plain(layer: nn.Conv2d) -> bool:
    return (layer.stride, layer.padding, layer.dilation, layer.groups) == ((1, 1), (0, 0), (1, 1), 1)


def _patches(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """A view (n, channels, height, width, height', width'): the patch that a kernel sees at each place."""
    return x.unfold(2, layer.kernel_size[0], 1).unfold(3, layer.kernel_size[1], 1).permute(0, 1, 4, 5, 2, 3)


def pooling(h: Tensor) -> Step:
    """HalvingPool of the only network of a stack."""
    x = h[0]
    if HalvingPool.pays(x):
        pairs, largest = halved_in_pairs(x)
        return largest.unsqueeze(0), lambda d, found: halved_gradient(x, pairs, d[0]).unsqueeze(0)
    largest, places = torch.ops.aten.max_pool2d_with_indices(x, [2, 2], [2, 2])

    def back(d: Tensor, found: Stack) -> Tensor:
        of_x: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
            d[0], x, [2, 2], [2, 2], [0, 0], [1, 1], False, places
        )
        return of_x.unsqueeze(0)

    return largest.unsqueeze(0), back


def flatten(h: Tensor) -> Step:
    """All numbers of an input side by side."""
    return h.flatten(2), lambda d, found: d.view(h.shape)


def relu(h: Tensor, *, overwrites: bool) -> Step:
    """max(h, 0), written over h where nobody else reads it, as its derivative is over the one that it is given."""
    result = h.relu_() if overwrites else h.relu()
    return result, lambda d, found: torch.ops.aten.threshold_backward.grad_input(d, result, 0, grad_input=d)


def times(h: Tensor, mask: Tensor) -> Step:
    """Dropout by its mask."""
    return h * mask, lambda d, found: d * mask


def elementwise(layer: nn.Module, h: Tensor) -> Step:
    """Any function of each number alone, its derivative by autograd."""
    with torch.enable_grad():
        own = h.requires_grad_()
        result = layer(own)
    return result.detach(), lambda d, found: torch.autograd.grad(result, own, d)[0]
