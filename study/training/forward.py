"""A stack of networks of one architecture as a function: logits in evaluation mode, gradients in training mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from study.loss import by_class, mean_loss_gradient, sample_losses
from study.models.pooling import HalvingPool
from study.seams.noise import Noise
from study.seams.objective import Evaluation
from study.seams.optimizer import Stack
from study.seams.precision import FULL, Precision
from study.training import dropout
from study.training.aligned import align
from study.training.chain import Chain, chain_of


class StackedForward:
    """One forward and one backward for all networks ("stacked"), or for a stack of one without vmap ("sequential").

    Norm layers keep running statistics a network, dropout has masks a network; `example` is one input (*shape), and
    `precision` that of what is differentiated. Raises ValueError for a network that cannot be trained here: a tensor
    under two names, random numbers but for dropout.
    """

    def __init__(
        self, template: nn.Module, loss: str, mode: str, example: Tensor, precision: Precision = FULL
    ) -> None:  # fmt: skip
        _refuse_shared_tensors(template)
        self.template, self.loss, self.mode, self.precision = template.cpu(), loss, mode, precision
        self.dropouts = dropout.prepare(template, example.cpu().to(next(template.parameters()).dtype))
        template.to(example.device)
        self.device = example.device.type
        if mode == "stacked" and example.device.type == "cpu":
            align(template)
        self.chain = chain_of(template)
        if self.chain and self.chain.convolves and mode == "stacked":
            self.chain = None
        self.pools = [module for module in template.modules() if isinstance(module, HalvingPool)]
        self.own = dict(template.named_parameters())
        kept = template.state_dict().keys()
        self.own_buffers = {name: b for name, b in template.named_buffers() if name in kept}

    def evaluate(self, parameters: Stack, buffers: Stack, x: Tensor) -> Tensor:
        """Logits (networks, n, C) in evaluation mode of inputs (n, *shape) that all networks share."""
        self._train(False)
        if self.mode == "sequential":
            if self.chain and self.chain.convolves and self.chain.fits(len(x)):
                return self.chain.evaluate(parameters, x)
            self._point_at(parameters, buffers, {})
            alone: Tensor = self.template(self._laid_out(x))
            return alone.unsqueeze(0)
        if self.chain and self.chain.fits(len(x)):
            return by_class(self.chain.evaluate(parameters, x), self.loss)
        return self._stacked({**parameters, **buffers}, x, None)

    def masks(self, rates: Stack, noise: Noise, n: int) -> Stack:
        """The dropout masks of one step with n inputs a network, of the layers that have a rate."""
        return dropout.draw(self.dropouts, rates, noise, n) if rates else {}

    def gradients(
        self, parameters: Stack, buffers: Stack, masks: Stack, x: Tensor, labels: Tensor,
        objective: Callable[[Evaluation], Tensor] | None,
    ) -> Stack:  # fmt: skip
        """Gradient of each network's objective on its own batch x (networks, n, *shape), labels (networks, n).

        None as objective is the mean loss.

        Running statistics in `buffers` move in place. The networks share nothing, so one backward pass of the summed
        objectives gives every network its own gradient.
        """
        if self.chain and self.chain.fits(x.shape[1]) and not self.precision.bf16:
            return self._gradients_by_hand(self.chain, parameters, masks, x, labels, objective)
        self._train(True)
        leaves, logits, stack = self._training_logits(parameters, buffers, masks, x)
        values = (objective or _mean_loss)(Evaluation(x, labels, logits, self.loss, stack, self._again(buffers, masks)))
        found = torch.autograd.grad(values if len(values) == 1 else values.sum(), list(leaves.values()))
        if self.mode == "sequential":
            found = tuple(gradient.unsqueeze(0) for gradient in found)
        return dict(zip(leaves, found, strict=True))

    def _gradients_by_hand(
        self, chain: Chain, parameters: Stack, masks: Stack, x: Tensor, labels: Tensor,
        objective: Callable[[Evaluation], Tensor] | None,
    ) -> Stack:  # fmt: skip
        """As `gradients`: that in the logits by autograd, and in parameters that the objective itself asks for."""
        leaves: Stack = {}

        def asked() -> Stack:
            leaves.update({name: tensor.detach().requires_grad_() for name, tensor in parameters.items()})
            return leaves

        taken = chain.forward(parameters, masks, x)
        logits = by_class(taken.logits, self.loss) if self.mode == "stacked" else taken.logits
        if objective is None:
            return taken.backward(mean_loss_gradient(logits, labels, self.loss))
        logits.requires_grad_()
        values = objective(Evaluation(x, labels, logits, self.loss, asked, self._again({}, masks)))
        summed = values if len(values) == 1 else values.sum()
        own, *more = torch.autograd.grad(summed, [logits, *leaves.values()], materialize_grads=True)
        found = taken.backward(own)
        for name, gradient in zip(leaves, more, strict=True):
            found[name].add_(gradient)
        return found

    def input_gradients(self, parameters: Stack, buffers: Stack, x: Tensor, labels: Tensor) -> Tensor:
        """Gradient of each sample's loss in evaluation mode with respect to its input, (networks, n, *shape)."""
        self._train(False)
        x = x.detach().requires_grad_()
        if self.mode == "sequential":
            self._point_at(parameters, buffers, {})
            logits = self._rounded(self.template, x[0]).unsqueeze(0)
        else:
            logits = self._rounded(self._stacked, {**parameters, **buffers}, x, 0)
        (gradient,) = torch.autograd.grad(sample_losses(logits, labels, self.loss).sum(), [x])
        return gradient

    def _training_logits(
        self, parameters: Stack, buffers: Stack, masks: Stack, x: Tensor
    ) -> tuple[Mapping[str, Tensor], Tensor, Callable[[], Stack]]:
        """What the gradient is taken by, the logits, and the former as a stack."""
        if self.mode == "sequential":
            self._point_at(parameters, buffers, masks)
            own, logits = self.own, self._rounded(self.template, self._laid_out(x[0])).unsqueeze(0)
            return own, logits, lambda: {name: p.unsqueeze(0) for name, p in own.items()}
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in parameters.items()}
        return leaves, self._rounded(self._stacked, {**leaves, **buffers, **masks}, x, 0), lambda: leaves

    def _rounded(self, forward: Callable[..., Tensor], *inputs: Any) -> Tensor:
        """Logits by a forward pass in the precision, themselves in that of the weights: a loss is in full."""
        with self.precision.forward(self.device):
            return forward(*inputs).to(next(iter(self.own.values())).dtype)

    def _laid_out(self, x: Tensor) -> Tensor:
        """Inputs of one network as its layers take them fastest; images with the channels of a pixel side by side.

        Convolutions then need not reorder them: a step and an evaluation of NiN take .8 of the time on one core, of
        ResNet-20 .85. A chain has products of its own.
        """
        if self.chain or x.ndim != 4 or x.device.type != "cpu":
            return x
        return x.contiguous(memory_format=torch.channels_last)

    def _again(self, buffers: Stack, masks: Stack) -> Callable[[Stack, Tensor], Tensor]:
        def forward(parameters: Stack, x: Tensor) -> Tensor:
            copies = {name: tensor.clone() for name, tensor in buffers.items()}
            return self._rounded(self._stacked, {**parameters, **copies, **masks}, x, 0)

        return forward

    def _stacked(self, state: Stack, x: Tensor, axis: int | None) -> Tensor:
        self._first_order(False)

        def forward(one: Stack, inputs: Tensor) -> Tensor:
            # No weights are tied, and to look for them takes 6% of a small step.
            logits: Tensor = functional_call(self.template, one, (inputs,), tie_weights=False)
            return logits

        return vmap(forward, in_dims=(0, axis))(state, x)

    def _point_at(self, parameters: Stack, buffers: Stack, masks: Stack) -> None:
        """Let the template's own tensors be the one network's: a small batch costs less than functional_call."""
        self._first_order(True)
        for name, own in self.own.items():
            own.data = parameters[name][0]
        for name, buffer in self.own_buffers.items():
            buffer.data = buffers[name][0]
        for path, layer in self.dropouts.items():
            layer.keep(masks.get(f"{path}.kept"))

    def _first_order(self, first_order: bool) -> None:
        for pool in self.pools:
            if pool.first_order != first_order:
                pool.first_order = first_order

    def _train(self, training: bool) -> None:
        if self.template.training != training:
            self.template.train(training)


def _mean_loss(evaluation: Evaluation) -> Tensor:
    return evaluation.losses().mean(-1)


def _refuse_shared_tensors(template: nn.Module) -> None:
    """Raise ValueError where a tensor has two names: a file of weights would hold it twice, once as it was at first."""
    for found in (template.named_parameters, template.named_buffers):
        first: dict[int, str] = {}
        for name, tensor in found(remove_duplicate=False):
            if (other := first.setdefault(id(tensor), name)) != name:
                what = f"{other} and {name} are one tensor, allowed: each of its own"
                raise ValueError(f"model: {type(template).__name__}: {what}")
