"""The outputs' derivatives by one layer's weights, from what the layer is given and what goes back through it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from study.measures.jacobian.layer_rows import LayerRows

if TYPE_CHECKING:
    from torch import Tensor, nn

    from study.measures.context import MeasureContext

_HELD = 2**28  # bytes of slopes of several layers that are there together; ours
_ROUNDING = 1e-3  # relative, of a gradient in float32 that was summed in another order; ours

# From outputs (n, C) the vectors (n, k, C) that are sent back, k for each sample.
Cotangents = Callable[["Tensor"], "Tensor"]


def weight_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers with a weight of two or more dimensions by path.

    Raises ValueError for one of another kind, and for a weight that is there under two names.
    """
    from torch import nn

    found: dict[str, nn.Module] = {}
    names: dict[nn.Parameter, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.ndim < 2:
            continue
        path, _, last = name.rpartition(".")
        module = model.get_submodule(path)
        if (known := names.setdefault(parameter, name)) != name:
            if module is model.get_submodule(known.rpartition(".")[0]):
                continue  # the same layer by another name; that it is run twice is seen when it is
            raise ValueError(f"{name}: is {known}, too: allowed: a weight of one layer")
        plain = isinstance(module, nn.Conv2d) and module.groups == 1 and module.padding_mode == "zeros"
        if last != "weight" or not (isinstance(module, nn.Linear) or (plain and not isinstance(module.padding, str))):
            kind = type(module).__name__
            allowed = "Linear, Conv2d of one group padded with zeros, by a number of pixels"
            raise ValueError(f"{name}: of type {kind}: allowed: {allowed}")
        found[path] = module
    return found


def check_layers(model: nn.Module) -> None:
    """Raises ValueError, naming it, for a layer whose rows cannot be made."""
    weight_layers(model)


def verified_layers(ctx: MeasureContext) -> dict[str, nn.Module]:
    """`weight_layers`, each tried once a network: its rows of two samples add up to the gradient of its weight.

    They do not where a weight is read anywhere else, or a layer computes something else than its type says. Raises
    ValueError, naming the layer. Cost: a forward and a backward pass of two samples.
    """
    return ctx.shared(_verified)


def _verified(ctx: MeasureContext) -> dict[str, nn.Module]:
    import torch
    from torch.func import functional_call

    layers, x = weight_layers(ctx.model), ctx.x[:2]
    weights = {f"{path}.weight": layer.weight.detach().clone() for path, layer in layers.items()}  # type: ignore[operator]
    with torch.enable_grad(), _watched(layers, len(x)) as seen:
        for weight in weights.values():
            weight.requires_grad_()
        outputs = functional_call(ctx.model, weights, (x,), tie_weights=False)
        back = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0)).to(outputs)
        by = [*weights.values(), *(seen[path][1] for path in layers)]
        found = torch.autograd.grad(outputs, by, back, materialize_grads=True)
    n = len(layers)
    for (path, layer), slope, outward in zip(layers.items(), found[:n], found[n:], strict=True):
        phi, delta = _places(layer, seen[path][0]).double(), _outward(layer, outward).double()
        total, gradient = torch.einsum("nto,ntd->od", delta, phi), slope.double().flatten(1)
        if not bool(total.isfinite().all() and gradient.isfinite().all()):
            continue  # no measure of it is finite, and each says so
        rounding = max(_ROUNDING, 8 * torch.finfo(slope.dtype).eps)
        if not bool((total - gradient).norm() <= rounding * gradient.norm()):
            said = "its gradient is not that of a layer of its type run once: allowed: weights that nothing else reads"
            raise ValueError(f"{path}: {said}")
    return layers


def layer_rows(
    model: nn.Module, paths: Sequence[str], x: Tensor, cotangents: Cotangents
) -> Iterator[tuple[str, LayerRows]]:
    """Rows of some layers on the samples x. Cost: one forward pass, and a backward pass for each of the k cotangents.

    The network is in eval mode: a sample's outputs depend on no other.
    """
    import torch

    layers = weight_layers(model)
    with torch.enable_grad(), _watched({path: layers[path] for path in paths}, len(x)) as seen:
        outputs = model(x)
        back = cotangents(outputs.detach().double()).to(outputs.dtype)
        slopes = [
            torch.autograd.grad(outputs, [seen[path][1] for path in paths], back[:, k], retain_graph=True)
            for k in range(back.shape[1])
        ]
    given = {path: seen[path][0] for path in paths}
    for at, path in enumerate(paths):
        phi = _places(layers[path], given[path]).double()
        yield path, LayerRows(phi, torch.stack([_outward(layers[path], each[at]) for each in slopes], 1).double())


def rows_by_layer(model: nn.Module, x: Tensor, cotangents: Cotangents) -> Iterator[tuple[str, LayerRows]]:
    """Rows of each layer, of so many at a time that their slopes are of _HELD bytes, or of one alone.

    Cost: as of `layer_rows`, so many times.
    """
    import torch

    layers = weight_layers(model)
    with torch.no_grad(), _watched(layers, 1) as seen:
        n_outputs = model(x[:1]).shape[1]
    groups: list[list[str]] = []
    room = 0
    for path in layers:
        size = seen[path][1].nbytes * len(x) * (n_outputs + 1)
        if size > room:
            groups.append([])
            room = _HELD
        groups[-1].append(path)
        room -= size
    for group in groups:
        yield from layer_rows(model, group, x, cotangents)


class _Seen(dict[str, "tuple[Tensor, Tensor]"]):
    """What each layer is given and what it gives of n samples; ValueError for one that is not run once on all."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def add(self, path: str, given: Tensor, out: Tensor) -> None:
        import torch

        if path in self or len(given) != self.n:
            said = "run more than once" if path in self else f"given {len(given)} inputs of {self.n} samples"
            raise ValueError(f"{path}: is {said}: allowed: a layer that is run once, on a batch of samples")
        if torch.is_grad_enabled() and not out.requires_grad:  # frozen, and everything before it
            out.requires_grad_()
        self[path] = (given.detach(), out)

    def __missing__(self, path: str) -> tuple[Tensor, Tensor]:
        raise ValueError(f"{path}: is not run as a module: allowed: a layer that is run once, on a batch of samples")


@contextlib.contextmanager
def _watched(layers: Mapping[str, nn.Module], n: int) -> Iterator[_Seen]:
    """What each layer is given and what it gives, once the network has run on n samples."""
    seen = _Seen(n)

    def watch(path: str) -> Callable[[nn.Module, tuple[Tensor, ...], dict[str, Tensor], Tensor], Tensor]:
        def hook(module: nn.Module, given: tuple[Tensor, ...], named: dict[str, Tensor], out: Tensor) -> Tensor:
            seen.add(path, given[0] if given else named["input"], out)
            return out.clone()  # an activation in place would change what is differentiated by

        return hook

    handles = [layer.register_forward_hook(watch(path), with_kwargs=True) for path, layer in layers.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _places(module: nn.Module, given: Tensor) -> Tensor:
    """What a layer is given, (n, t, d): patches of images, tokens, or vectors."""
    from torch import nn
    from torch.nn import functional

    if isinstance(module, nn.Conv2d):
        sizes = (module.kernel_size, module.dilation, module.padding, module.stride)
        return functional.unfold(given, *sizes).transpose(1, 2)  # type: ignore[arg-type]
    return given.reshape(len(given), -1, given.shape[-1])


def _outward(module: nn.Module, slope: Tensor) -> Tensor:
    """A slope by a layer's outputs, (n, t, n_out)."""
    from torch import nn

    if isinstance(module, nn.Conv2d):
        return slope.flatten(2).transpose(1, 2)
    return slope.reshape(len(slope), -1, slope.shape[-1])
