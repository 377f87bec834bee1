"""Dropout in a stack: masks are drawn beforehand, from each network's own generator, and handed in like buffers."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from study.seams.noise import Noise
from study.seams.optimizer import column

CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)  # these drop whole channels
DROPOUTS = (nn.Dropout, *CHANNELS)


class StackedDropout(nn.Module):
    """nn.Dropout, or one that drops channels, by a mask that is given: 0, or 1 / (1 - p) where a number stays.

    A mask of no dimensions means none.
    """

    kept: Tensor

    def __init__(self, channels: bool) -> None:
        super().__init__()
        self.channels = channels
        self.shape: tuple[int, ...] = ()  # of one sample's mask; known after `prepare`, as is how often it is called
        self.calls = 0
        self.register_buffer("kept", torch.ones(()), persistent=False)
        self.none = self.kept

    def keep(self, mask: Tensor | None) -> None:
        """Use the mask of the only network of a stack, (1, n, ...), or none."""
        self.kept = self.none if mask is None else mask[0]

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (n, ...) to the same shape; in evaluation mode as they are."""
        if not self.training:
            return x
        if self.kept.ndim == 0:  # nothing is dropped
            self.calls += 1
            self.shape = (x.shape[1], *[1] * (x.ndim - 2)) if self.channels else tuple(x.shape[1:])
            return x
        return x * self.kept


def prepare(template: nn.Module, example: Tensor) -> dict[str, StackedDropout]:
    """Put StackedDropout in the place of every dropout layer of a network, and learn what shapes they see.

    One training pass of one input (*shape) tells. Raises ValueError where it draws random numbers in another way: they
    would come from the global generator, and a network's bits would depend on those beside it; and where a layer is
    called twice, which has one mask a step here and would have two alone.
    """
    layers: dict[str, StackedDropout] = {}
    placed: dict[nn.Module, StackedDropout] = {}
    for path, module in list(template.named_modules(remove_duplicate=False)):
        if isinstance(module, DROPOUTS):
            parent, _, name = path.rpartition(".")
            if module not in placed:
                layers[path] = placed[module] = StackedDropout(isinstance(module, CHANNELS))
            setattr(template.get_submodule(parent), name, placed[module])
    copied = {name: tensor.clone() for name, tensor in template.named_buffers()}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        functional_call(template.train(), copied, (example.expand(2, *example.shape),))
        drawn = not torch.equal(before, torch.get_rng_state())
    if drawn:
        allowed = "nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d"
        raise ValueError(f"model: {type(template).__name__}: draws random numbers in training, allowed: {allowed}")
    for path, layer in layers.items():
        if layer.calls > 1:
            what = f"calls its dropout layer {path} {layer.calls} times, allowed: a layer of its own each time"
            raise ValueError(f"model: {type(template).__name__}: {what}")
    return layers


def rates(networks: Sequence[nn.Module], device: str | torch.device) -> dict[str, Tensor]:
    """The dropout rate of each layer in each network, (networks,), by path; without layers that drop nothing in any."""
    found = [{path: m.p for path, m in network.named_modules() if isinstance(m, DROPOUTS)} for network in networks]
    each = {path: [one[path] for one in found] for path in found[0]}
    return {path: torch.tensor(p, device=device) for path, p in each.items() if any(p)}


def leave_out(template: nn.Module, layers: dict[str, StackedDropout], rates: Collection[str]) -> None:
    """Take layers without a rate out of `layers`, and out of the network where they are a step of an nn.Sequential.

    A call of a layer that does nothing takes 2% of a step of a small network.
    """
    for path in [path for path in layers if path not in rates]:
        parent, _, name = path.rpartition(".")
        if isinstance(steps := template.get_submodule(parent), nn.Sequential):
            delattr(steps, name)
            del layers[path]


def draw(layers: dict[str, StackedDropout], rates: dict[str, Tensor], noise: Noise, n: int) -> dict[str, Tensor]:
    """Masks (networks, n, ...) of one step, by the path of the buffer that takes them; a rate of 0 keeps every bit."""
    masks = {}
    for path, rate in rates.items():
        drawn = noise.uniform(path, (n, *layers[path].shape))
        p = column(rate, drawn)
        masks[f"{path}.kept"] = (drawn >= p) / (1 - p)
    return masks
