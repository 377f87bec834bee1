"""The exact curvature of every layer in one forward and C backward passes (C - 1 for the softmax)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from study.curvature.layers import Layer, find_layers
from study.curvature.loss import Loss, resolve_loss
from study.curvature.network import Batches, Data, Network


@dataclass(frozen=True)
class LayerCurvature:
    """What the Hessian block of one layer's weight W (n_out, d), rows w_s, says about its flatness."""

    name: str
    trace_matrix: Tensor  # T^l (n_out, n_out), float64: T[s, s'] = Tr(H_{s,s'})
    trace: float  # Tr(H_l) = tr T^l
    relative_flatness: float  # <W W^T, T^l>, Petzka et al. 2021
    relative_flatness_normalized: float  # the same after dividing each input feature by its standard deviation
    kappa_2019: float  # ||W||_F^2 Tr(H_l), Petzka et al. 2019, eq. 7
    weight_norm_squared: float
    n_samples: int
    n_parameters: int


@dataclass
class _Sums:
    """Running float64 sums of one layer."""

    scale: Tensor  # (g, d) standard deviation of each column's input feature
    raw: Tensor
    normalized: Tensor
    uses: list[tuple[nn.Module, Tensor, GradientEdge]] = field(default_factory=list)


def layer_curvature(
    model: nn.Module,
    data: Data,
    loss: str | Loss | nn.Module = "cross_entropy",
    *,
    layers: Iterable[str] | None = None,
    chunk: int = 64,
) -> dict[str, LayerCurvature]:
    """T^l, trace and relative flatness of each layer, by the layer's path, in network order.

    `data` is (inputs, targets) or an iterable of such batches.
    """
    loss = resolve_loss(loss)
    found = find_layers(model, layers)
    batches = Batches.of(data)
    with Network(model, train=[layer.parameter for layer in found]) as network:
        scales = feature_scales(network, found, batches, chunk)
        sums = [_empty_sums(network, layer, scale) for layer, scale in zip(found, scales, strict=True)]
        n_samples = 0
        with _recording(found, sums):
            for inputs, _ in batches.read(network, chunk):
                for entry in sums:
                    entry.uses.clear()
                outputs = network(inputs)
                n_samples += len(outputs)
                _accumulate(found, sums, outputs, loss.columns(outputs))
        return {layer.name: _result(network, layer, entry, n_samples) for layer, entry in zip(found, sums, strict=True)}


def _empty_sums(network: Network, layer: Layer, scale: Tensor) -> _Sums:
    n_out = len(layer.flatten(network.parameters[layer.parameter]))
    zero = torch.zeros(n_out, n_out, dtype=torch.float64, device=network.device)
    return _Sums(scale, zero, zero.clone())


@contextlib.contextmanager
def _recording(layers: list[Layer], sums: list[_Sums]) -> Iterator[None]:
    """Keep the input of each use of a layer and the place of its output in the autograd graph.

    The edge, not the tensor: an in-place activation after the layer moves the tensor on, the edge stays.
    """
    handles = []
    try:
        for layer, entry in zip(layers, sums, strict=True):

            def keep(module: nn.Module, args: tuple, kwargs: dict, output: Tensor, entry: _Sums = entry) -> None:
                entry.uses.append((module, (args or tuple(kwargs.values()))[0].detach(), get_gradient_edge(output)))

            for module in layer.modules:
                handles.append(module.register_forward_hook(keep, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _accumulate(layers: list[Layer], sums: list[_Sums], outputs: Tensor, columns: Tensor) -> None:
    edges = [edge for entry in sums for _, _, edge in entry.uses]
    deltas = list(torch.autograd.grad(outputs, edges, columns, is_grads_batched=True))
    for layer, entry in zip(layers, sums, strict=True):
        phi, delta = [], []
        for module, x, _ in entry.uses:
            phi.append(layer.patches(module, x))
            delta.append(layer.deltas(module, deltas.pop(0)))
        raw, normalized = contract(torch.cat(phi, -1), torch.cat(delta, -1), entry.scale)
        entry.raw += raw
        entry.normalized += normalized


def contract(phi: Tensor, delta: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over samples and columns of G G^T, and of the same with column j of G divided by scale_j."""
    inverse = torch.where(scale > 0, 1 / scale, 0.0).to(phi.dtype)
    if phi.shape[-1] == 1 and phi.shape[1] == 1:
        flat = delta[:, :, 0, :, 0].flatten(0, 1)
        squares = phi[:, 0, :, 0].square()
        weights = torch.stack([squares.sum(1), squares @ inverse[0].square()])
        return tuple(((flat * w.repeat(len(delta))[:, None]).T @ flat).double() for w in weights)
    gradient = torch.einsum("knghp,ngdp->ghknd", delta, phi)
    scaled = gradient * inverse[:, None, None, None, :]
    return _gram(gradient), _gram(scaled)


def _gram(gradient: Tensor) -> Tensor:
    flat = gradient.flatten(0, 1).flatten(1)
    return (flat @ flat.T).double()


def feature_scales(network: Network, layers: list[Layer], batches: Batches, chunk: int) -> list[Tensor]:
    """The standard deviation over the data of the input feature that each column of a weight reads: (g, d) a layer.

    0 for a feature that does not vary: it acts as a bias, and the normalized form leaves it out.
    """
    moments: list[list[Tensor]] = [[] for _ in layers]
    handles = []
    try:
        for layer, seen in zip(layers, moments, strict=True):

            def add(
                module: nn.Module, args: tuple, kwargs: dict, _: Tensor, layer: Layer = layer, seen: list = seen
            ) -> None:
                values = layer.features(module, (args or tuple(kwargs.values()))[0].detach()).double()
                _merge(seen, values)

            for module in layer.modules:
                handles.append(module.register_forward_hook(add, with_kwargs=True))
        with torch.no_grad():
            for inputs, _ in batches.read(network, chunk):
                network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return [_deviation(*seen).repeat_interleave(layer.window, 1) for layer, seen in zip(layers, moments, strict=True)]


def _merge(seen: list[Tensor], values: Tensor) -> None:
    """Add a batch to (count, mean, sum of squared deviations), by Chan et al. 1979: no cancellation."""
    count = torch.tensor(float(values.shape[-1]), dtype=torch.float64, device=values.device)
    mean = values.mean(-1)
    spread = (values - mean[..., None]).square().sum(-1)
    if seen:
        old_count, old_mean, old_spread = seen
        shift, total = mean - old_mean, old_count + count
        spread = old_spread + spread + shift.square() * old_count * count / total
        mean, count = old_mean + shift * count / total, total
    seen[:] = count, mean, spread


def _deviation(count: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    deviation = (spread / count).sqrt()
    # Relative to the mean, so that the rule is the same after a feature is rescaled; 1e-6 is float32's rounding.
    return torch.where(deviation > 1e-6 * mean.abs(), deviation, 0.0)


def _result(network: Network, layer: Layer, entry: _Sums, n_samples: int) -> LayerCurvature:
    weight = layer.flatten(network.parameters[layer.parameter].detach()).double()
    scaled = weight.reshape(len(entry.scale), -1, weight.shape[1]) * entry.scale[:, None, :]
    scaled = scaled.reshape_as(weight)
    raw, normalized = entry.raw / n_samples, entry.normalized / n_samples
    trace, norm = float(raw.trace()), float(weight.square().sum())
    return LayerCurvature(
        name=layer.name,
        trace_matrix=raw,
        trace=trace,
        relative_flatness=float((weight @ weight.T * raw).sum()),
        relative_flatness_normalized=float((scaled @ scaled.T * normalized).sum()),
        kappa_2019=norm * trace,
        weight_norm_squared=norm,
        n_samples=n_samples,
        n_parameters=weight.numel(),
    )
