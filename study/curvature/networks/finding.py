"""Which layers of a network can be measured, and why the others cannot."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from .holding import check_model
from .layers import BATCH_NORMS, CONVOLUTIONS, SUPPORTED, Layer

INSTEAD = (
    "name the layers to measure in `layers`, leave out all such with layers='supported', or estimate its Hessian trace "
    "with hessian_trace"
)


class RefusedLayers(ValueError):
    """Layers that cannot be treated exactly: `reasons` by their paths, the message being that of the first."""

    def __init__(self, reasons: dict[str, str], instead: str = "") -> None:
        self.reasons = reasons
        name, why = next(iter(reasons.items()))
        super().__init__(f"layer {name or '(the model itself)'!r} {why}{instead and f'; {instead}'}")


def supported_layers(model: nn.Module) -> tuple[list[Layer], dict[str, str]]:
    """The layers of the kinds that are supported, in the order of the modules, and by path why others are not."""
    check_model(model)
    holders: dict[int, list[tuple[str, nn.Module]]] = {}
    others: dict[int, str] = {}  # parameters of modules that are not supported
    refused: dict[str, str] = {}
    for name, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        if own and _is_supported(module, own) and not own["weight"].numel():
            refused[name] = f"of type {type(module).__name__} has a weight of shape {tuple(own['weight'].shape)}"
        elif own and _is_supported(module, own):
            holders.setdefault(id(own["weight"]), []).append((name, module))
        elif own:
            kind = type(module).__name__
            refused[name] = f"of type {kind} holds parameters {', '.join(own)} and cannot be treated exactly"
            others |= {id(parameter): f"{name!r} of type {kind}" for parameter in own.values()}
    found = []
    for weight, uses in holders.items():
        name, module = uses[0]
        if weight in others:
            why = (
                f"of type {type(module).__name__} shares its weight with {others[weight]} and cannot be treated exactly"
            )
            refused |= {name: why for name, _ in uses}
        else:
            found.append(Layer(name, f"{name}.weight" if name else "weight", tuple(module for _, module in uses)))
    return found, refused


def find_layers(model: nn.Module, only: Iterable[str] | None = None) -> list[Layer]:
    """The layers of a network in the order of its modules, or those named in `only`, by any path that leads to them.

    Raises ValueError naming the path and type of a module that holds parameters of its own and is not supported.
    """
    found, refused = supported_layers(model)
    wanted = _paths(model, only)
    for name in refused if wanted is None else (name for name in refused if name in wanted):
        raise RefusedLayers({name: refused[name]}, f"supported are {SUPPORTED}; {INSTEAD}")
    if wanted is not None:
        held = {path: layer for layer in found for path in _paths_of(model, layer)}
        if unknown := sorted(wanted - set(held)):
            paths = [name for name, module in model.named_modules() if module._parameters]
            raise ValueError(
                f"layers {', '.join(map(repr, unknown))} hold no parameters; those that do: {', '.join(paths)}"
            )
        chosen = {held[path].name for path in wanted}
        found = [layer for layer in found if layer.name in chosen]
    if not found:
        raise ValueError(f"{type(model).__name__} has no layer with a weight; supported are {SUPPORTED}")
    return found


def named_weights(model: nn.Module, only: Iterable[str] | None = None) -> dict[str, tuple[str, ...]]:
    """The names of the parameters other than biases that each module holds itself, by its path; of any type of module.

    A weight that several modules share belongs to the first. Raises ValueError for a path in `only` that holds none.
    """
    check_model(model)
    wanted = _paths(model, only)
    found: dict[str, tuple[str, ...]] = {}
    for name, parameter in model.named_parameters():
        path, _, last = name.rpartition(".")
        if "bias" not in last and parameter.numel():
            found[path] = (*found.get(path, ()), name)
    if wanted is None:
        return found
    if unknown := sorted(wanted - set(found)):
        raise ValueError(f"layers {', '.join(map(repr, unknown))} hold no weights; those that do: {', '.join(found)}")
    return {path: found[path] for path in found if path in wanted}


def _paths(model: nn.Module, only: Iterable[str] | None) -> set[str] | None:
    """The paths that were named, a module of several names by the first."""
    if only is None:
        return None
    wanted = set() if isinstance(only, str) else set(only)
    if not wanted:
        raise ValueError(f"layers {only!r} is not a list of at least one path of a layer")
    first = {id(module): name for name, module in model.named_modules()}
    others = {name: first[id(module)] for name, module in model.named_modules(remove_duplicate=False)}
    return {others.get(name, name) for name in wanted}


def _paths_of(model: nn.Module, layer: Layer) -> list[str]:
    return [name for name, module in model.named_modules() if any(module is held for held in layer.modules)]


def _is_supported(module: nn.Module, own: dict[str, nn.Parameter]) -> bool:
    known = (nn.Linear, *CONVOLUTIONS, *BATCH_NORMS, nn.LayerNorm, nn.GroupNorm)
    return isinstance(module, known) and "weight" in own and set(own) <= {"weight", "bias"}
