"""What the exact pass supposes of a network, verified on samples of every chunk.

A few samples are run again in another batch. Their outputs must be the same, and so must the rows of each layer that
are theirs. At first and now and then they are also sent backward: what one sample moves must be its own rows; the sum
of the samples' gradients must be the weight's; and where a block is to be called the Hessian's, the product of the
difference between the Hessian and the Gauss-Newton matrix with a random vector must vanish.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..networks.batches import Inputs
from ..networks.companions import MIXED, Again, Companions, agree
from ..networks.finding import INSTEAD, RefusedLayers
from ..networks.layers import Layer
from ..networks.network import Network
from ..networks.passes import noise
from ..networks.reached import UNSEEN, unseen
from .chain import agrees
from .contraction import Shape
from .layout import Layout, Pair, find_layout, moves_others
from .linearity import hessian_is_gauss_newton
from .recording import Use, Uses, unclear

_BACKWARD = 2  # chunks whose samples go backward, the look's own among them
_BACKWARD_EVERY = 1024  # samples after which another one's do: a tenth of LeNet5's time if each did

_ELSEWHERE = (
    "cannot be treated exactly: its weight acts on the output otherwise than through the module (used functionally, or "
    "a forward of its own)"
)


class Verification:
    """Of some layers of a network, one chunk after another; ValueError for what has no exact curvature.

    `layouts` says where the samples are in each use of each layer, `exact` whether each layer's Gauss-Newton block has
    been its Hessian block in all that was seen, `shapes` the sizes of each layer's contraction, `by_hand` whether a
    `Chain`, where there is one, has sent back what autograd sends.
    """

    def __init__(self, network: Network, layers: Sequence[Layer]) -> None:
        self.network, self.layers = network, layers
        self.companions = Companions(network)
        self.weights = [network.parameters[layer.parameter] for layer in layers]
        self.exact = [True] * len(layers)
        self.by_hand = True
        self.layouts: list[list[Layout | None]] | None = None
        self.shapes: list[Shape | None] = [None] * len(layers)
        self._n_backward = self._n_since = 0

    def recorded(self, inputs: Inputs) -> tuple[Uses, Tensor]:
        """The recorded forward pass of a chunk, which is to be verified next."""
        uses = Uses(self.layers)
        with uses.recorded():
            outputs = self.network(inputs)
        uses.n_samples, uses.layouts = len(outputs), self.layouts
        return uses, outputs

    def verify(self, inputs: Inputs, uses: Uses, outputs: Tensor) -> None:
        """Verify the forward pass that has just been recorded, as far as it is the chunk's turn."""
        self.companions.check_draws(inputs, outputs)
        if any(self.exact):
            found = hessian_is_gauss_newton(outputs, self.weights)
            self.exact = [before and now for before, now in zip(self.exact, found, strict=True)]
        self._n_since += len(outputs)
        again = self.companions.of(inputs)
        if again is None:
            return
        repeated_uses, repeated = self.recorded(again.inputs)
        self.companions.check(again, repeated, outputs)  # where a network has diverged, NaN agrees with everything
        if self._n_backward < _BACKWARD or self._n_since >= _BACKWARD_EVERY:
            self._n_backward, self._n_since = self._n_backward + 1, 0
            self._backward(again, uses, outputs, repeated_uses, repeated)
            uses.layouts = self.layouts
        else:
            self._check_rows(again, uses, repeated_uses)

    def _check_rows(self, again: Again, uses: Uses, repeated: Uses) -> None:
        """The samples' rows must be the same, under the layouts that are known."""
        for at, layer in enumerate(self.layers):
            for (use, layout), (other, _) in zip(uses.placed(at), repeated.placed(at), strict=True):
                here, there = layout.by_sample(other.x, repeated.n_samples), layout.by_sample(use.x, uses.n_samples)
                if not agree(here[again.at], there[again.rows], there):
                    raise unclear(layer, f"is given inputs of shape {tuple(use.x.shape)} for {uses.n_samples} samples")

    def _backward(self, again: Again, uses: Uses, outputs: Tensor, repeated_uses: Uses, repeated: Tensor) -> None:
        """Find the layouts, and verify gradients and linearity, on samples that were run again."""
        generator = self.companions.generator
        direction = torch.randn(repeated.shape, generator=generator, dtype=torch.float64)
        only = int(torch.randint(len(repeated), (), generator=generator))
        direction = direction.to(repeated.device, repeated.dtype)
        alone = torch.zeros_like(direction)
        alone[only] = direction[only]
        gradients: Sequence[Tensor | None] = [None] * len(self.layers)
        if repeated.requires_grad:
            gradients = torch.autograd.grad(repeated, self.weights, direction, create_graph=True, allow_unused=True)
            repeated_uses.backward(repeated, torch.stack([direction, alone]))
        refused = self._blind(again.inputs, gradients, repeated_uses) if self._n_backward == 1 else {}
        layouts: list[list[Layout | None]] = []
        for at, layer in enumerate(self.layers):
            layouts.append([None] * len(repeated_uses.of(at)))
            try:
                n = len(outputs), len(repeated)
                layouts[at] = self._layouts(layer, uses.of(at), repeated_uses.of(at), again, n, only)
            except RefusedLayers as error:
                refused = error.reasons | refused
        self.layouts = repeated_uses.layouts = layouts
        self.by_hand = self.by_hand and agrees(repeated, repeated_uses, torch.stack([direction, alone]))
        for at, (layer, gradient) in enumerate(zip(self.layers, gradients, strict=True)):
            self.exact[at] = self.exact[at] and self._is_linear(gradient, self.weights[at])
            if layer.name not in refused and not self._sums_up(at, repeated_uses, gradient):
                refused[layer.name] = f"of type {type(layer.module).__name__} {_ELSEWHERE}"
        if refused:
            raise RefusedLayers(
                {layer.name: refused[layer.name] for layer in self.layers if layer.name in refused}, INSTEAD
            )

    def _blind(self, inputs: Inputs, gradients: Sequence[Tensor | None], uses: Uses) -> dict[str, str]:
        """The layers on which the outputs depend where autograd does not see it."""
        silent = [layer.parameter for layer, found in zip(self.layers, gradients, strict=True) if found is None]
        blind = {*unseen(self.network, inputs, silent), *(self.layers[at].parameter for at in uses.blind)}
        found = [layer for layer in self.layers if layer.parameter in blind]
        return {layer.name: f"of type {type(layer.module).__name__} {UNSEEN}" for layer in found}

    def _layouts(
        self, layer: Layer, uses: list[Use], repeated: list[Use], again: Again, n: tuple[int, int], only: int
    ) -> list[Layout | None]:
        if len(uses) != len(repeated):
            raise unclear(layer, f"is used {len(uses)} times for some samples and {len(repeated)} times for others")
        found: list[Layout | None] = []
        for use, other in zip(uses, repeated, strict=True):
            if other.delta is None:
                found.append(None)
                continue
            pair = Pair(use.module, use.x, other.x, (other.delta[0], other.delta[1]))
            layout = find_layout(pair, n, again.rows, again.at, only)
            if layout is None and moves_others(pair, n, again.rows, again.at):
                raise ValueError(MIXED)
            if layout is None:
                raise unclear(layer, f"is given inputs of shape {tuple(use.x.shape)} for {n[0]} samples")
            found.append(layout)
        return found

    def _sums_up(self, at: int, uses: Uses, gradient: Tensor | None) -> bool:
        """Whether the layer's G, summed over samples, is the gradient that autograd gives for its weight."""
        layer, weight = self.layers[at], self.weights[at]
        ours = torch.zeros_like(layer.flatten(weight))
        for phi, delta in uses.joined(at, uses.n_samples):
            ours = torch.einsum("ngop,ngdp->god", delta[:, 0], phi).flatten(0, 1)
            self.shapes[at] = Shape(phi.shape[1], len(ours), phi.shape[2], phi.shape[3])
        expected = torch.zeros_like(ours) if gradient is None else layer.flatten(gradient.detach())
        return not bool((ours - expected).norm() > min(10 * noise(ours), 0.1) * (ours.norm() + expected.norm()))

    def _is_linear(self, gradient: Tensor | None, weight: Tensor) -> bool:
        """Whether a combination of the outputs has, in this weight, no second derivative along a random vector.

        It is the product of that vector with the part of the Hessian which the Gauss-Newton matrix leaves out. Nothing
        is computed where the gradient's graph does not lead back to the weight.
        """
        if gradient is None or not gradient.requires_grad:
            return True
        vector = torch.randn(weight.shape, generator=self.companions.generator, dtype=torch.float64)
        vector = (vector * float(weight.detach().norm() or 1) / vector.norm()).to(weight.device, weight.dtype)
        try:
            (product,) = torch.autograd.grad(gradient, weight, vector, retain_graph=True, allow_unused=True)
        except RuntimeError:  # an operation without a second derivative: it cannot be verified
            return False
        return product is None or not bool(product.norm() > noise(product) * gradient.detach().norm())
