"""Products with a linear layer's Gauss-Newton block where linear layers and ReLU alone stand behind it, by hand.

The products are those that autograd takes, in its order, and so are the bits. What falls away are its calls, a third of
the time for a thousand samples of LeNet5's second linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules import module as of_all

from ..networks.batches import Inputs
from ..networks.network import Network


@dataclass(frozen=True)
class FullyConnected:
    """One layer and those behind it, at some samples: the derivatives of the outputs in its weight, both ways."""

    given: Tensor  # what the layer is given (n, d)
    behind: Sequence[tuple[type[nn.Module], Tensor]]  # ReLU with its outputs (n, o), Linear with its weight

    def push(self, vector: Tensor) -> Tensor:
        """How the outputs (n, C) move along a vector (o, d)."""
        moved = self.given @ vector.t()
        for kind, tensor in self.behind:
            moved = moved @ tensor.t() if kind is nn.Linear else _kept(moved, tensor)
        return moved

    def pull(self, slopes: Tensor) -> Tensor:
        """The gradient (o, d) by that in the outputs (n, C)."""
        for kind, tensor in reversed(self.behind):
            slopes = slopes @ tensor if kind is nn.Linear else _kept(slopes, tensor)
        return slopes.t() @ self.given


def fully_connected(network: Network, inputs: Inputs, outputs: Tensor, parameter: str) -> FullyConnected | None:
    """The layer of a weight, where it is a plain nn.Linear of a plain nn.Sequential; None where it is anything else.

    Verified by the outputs (n, C), which are to be the network's own to the bit.
    """
    model = network.model
    if not network.is_called_plainly or type(model) is not nn.Sequential or not isinstance(inputs, Tensor):
        return None
    layers: dict[str, nn.Module] = dict(zip(model._modules, model, strict=True))
    if of_all._global_forward_hooks or of_all._global_forward_pre_hooks or not all(map(_plain, layers.values())):
        return None
    path, _, kind = parameter.rpartition(".")
    if kind != "weight" or type(layers.get(path)) is not nn.Linear or _tensors(layers) - network.parameters.keys():
        return None
    with torch.no_grad():
        found = _forward(network, layers, inputs, path)
    return found[0] if found and torch.equal(found[1], outputs) else None


def _forward(
    network: Network, layers: dict[str, nn.Module], h: Tensor, path: str
) -> tuple[FullyConnected, Tensor] | None:
    given: Tensor | None = None
    behind: list[tuple[type[nn.Module], Tensor]] = []
    for name, layer in layers.items():
        if isinstance(layer, nn.Linear):
            if h.ndim != 2:
                return None
            weight = network.parameters[f"{name}.weight"].detach()
            if name == path:
                given = h
            elif given is not None:
                behind.append((nn.Linear, weight))
            h = nn.functional.linear(h, weight, network.parameters.get(f"{name}.bias"))
        else:
            h = layer(h)
            if given is not None and isinstance(layer, nn.ReLU):
                behind.append((nn.ReLU, h))
    return None if given is None else (FullyConnected(given, behind), h)


def _kept(h: Tensor, outputs: Tensor) -> Tensor:
    """What ReLU lets pass of a derivative."""
    return torch.ops.aten.threshold_backward(h, outputs, 0)


def _tensors(layers: dict[str, nn.Module]) -> set[str]:
    return {f"{path}.{name}" for path, layer in layers.items() for name, _ in layer.named_parameters()}


def _plain(layer: nn.Module) -> bool:
    if layer._forward_hooks or layer._forward_pre_hooks or "forward" in layer.__dict__:
        return False
    if isinstance(layer, nn.Flatten):
        return type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1)
    return type(layer) is nn.Linear or (type(layer) is nn.ReLU and not layer.inplace)
