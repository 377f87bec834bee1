"""What a slow twin of a measure is given: a small trained network in float64, and its Hessian by autograd."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional


@dataclass
class Case:
    """A small trained network, its start and its data, all in float64."""

    model: nn.Module
    initial: dict[str, Tensor]
    x: Tensor
    labels: Tensor
    loss: str
    history: tuple[tuple[int, float], ...] = ()
    held_out: tuple[Tensor, Tensor] | None = None
    _hessians: dict[str, Tensor] = field(default_factory=dict)

    def loss_of(self, logits: Tensor) -> Tensor:
        if self.loss == "cross_entropy":
            return functional.cross_entropy(logits, self.labels)
        target = torch.eye(logits.shape[1], dtype=logits.dtype)[self.labels]
        return ((logits - target) ** 2).sum() / len(target)

    def layers(self) -> list[str]:
        return [name.removesuffix(".weight") for name, p in self.model.named_parameters() if p.ndim >= 2]

    def weight(self, layer: str) -> Tensor:
        return dict(self.model.named_parameters())[f"{layer}.weight"].detach()

    def hessian(self, layer: str) -> Tensor:
        """The Hessian block of one layer, shape (n_out, n_in, n_out, n_in), n_in = everything behind the first axis."""
        if layer not in self._hessians:
            self._hessians[layer] = self._hessian(layer)
        return self._hessians[layer]

    def _hessian(self, layer: str) -> Tensor:
        parameters = {n: p.detach() for n, p in self.model.named_parameters()}
        w = parameters[f"{layer}.weight"]

        def loss(flat: Tensor) -> Tensor:
            changed = {**parameters, f"{layer}.weight": flat.view_as(w)}
            return self.loss_of(functional_call(self.model, changed, (self.x,)))

        h = torch.autograd.functional.hessian(loss, w.flatten())
        rows = len(w)
        return h.view(rows, w.numel() // rows, rows, w.numel() // rows)

    def inputs(self, layer: str) -> Tensor:
        """What the layer is given on all samples."""
        caught: list[Tensor] = []
        handle = self.model.get_submodule(layer).register_forward_hook(lambda m, args, out: caught.append(args[0]))
        with torch.no_grad():
            self.model(self.x)
        handle.remove()
        return caught[0]
