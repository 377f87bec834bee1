"""Slow, obvious twins of every measure, in float64: the whole Hessian by autograd, loops over neurons and samples.

`TWINS[label](case)` gives what `study.measures` must give. A measure without a twin fails tests/study/test_measures.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from study.seeds import generator_for


@dataclass
class Case:
    """A small trained network, its start and its data, all in float64."""

    model: nn.Module
    initial: dict[str, Tensor]
    x: Tensor
    labels: Tensor
    loss: str

    def loss_of(self, logits: Tensor) -> Tensor:
        if self.loss == "cross_entropy":
            return functional.cross_entropy(logits, self.labels)
        target = torch.eye(logits.shape[1], dtype=logits.dtype)[self.labels]
        return sum(((logits[i] - target[i]) ** 2).sum() for i in range(len(target))) / len(target)  # type: ignore[return-value]

    def layers(self) -> list[str]:
        return [name.removesuffix(".weight") for name, p in self.model.named_parameters() if p.ndim >= 2]

    def weight(self, layer: str) -> Tensor:
        return dict(self.model.named_parameters())[f"{layer}.weight"].detach()

    def hessian(self, layer: str) -> Tensor:
        """The Hessian block of one layer, shape (n_out, n_in, n_out, n_in), n_in = everything behind the first axis."""
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


def _trace(case: Case, layer: str) -> float:
    h = case.hessian(layer)
    return sum(h[s, j, s, j].item() for s in range(h.shape[0]) for j in range(h.shape[1]))


def _norm(case: Case, layer: str) -> float:
    return sum(v.item() ** 2 for v in case.weight(layer).flatten())


def _relative_flatness(w: Tensor, h: Tensor) -> float:
    rows = len(w)
    pairs = ((s, t) for s in range(rows) for t in range(rows))
    return sum(((w[s] @ w[t]) * torch.trace(h[s, :, t, :])).item() for s, t in pairs)


def _normalized(case: Case, layer: str) -> float:
    """Divide each input feature by its standard deviation over the data and multiply its column of weights by it.

    The function is unchanged, the Hessian is that in the new weights: H'[s,j,t,k] = H[s,j,t,k] / (s_j s_k). For a
    convolution a feature is an input channel. A feature that never varies acts as a bias and is left out: no factor
    would make its column's part invariant.
    """
    phi, w = case.inputs(layer), case.weight(layer)
    std = phi.movedim(1, -1).reshape(-1, phi.shape[1]).std(0, unbiased=False)
    column = std.repeat_interleave(w[0].numel() // len(std))
    varies = column > 1e-12
    column = column[varies]
    h = case.hessian(layer)[:, varies][:, :, :, varies] / column[None, :, None, None] / column[None, None, None, :]
    return _relative_flatness(w.flatten(1)[:, varies] * column, h)


def _margin(case: Case) -> float:
    with torch.no_grad():
        logits = case.model(case.x)
    margins = []
    for row, y in zip(logits, case.labels.tolist(), strict=True):
        margins.append((row[y] - max(v for c, v in enumerate(row) if c != y)).item())
    ordered = sorted(margins)
    place = 0.1 * (len(ordered) - 1)
    low = int(place)
    gamma = ordered[low] + (place - low) * (ordered[low + 1] - ordered[low])
    return 1 / gamma**2


def _rho(case: Case, layer: str) -> list[float]:
    w, h = case.weight(layer).flatten(1), case.hessian(layer)
    return [(w[:, j] @ h[:, j, :, j] @ w[:, j]).item() for j in range(w.shape[1])]


def _lambda_max(case: Case, layer: str) -> float:
    n = case.weight(layer).numel()
    return torch.linalg.eigvalsh(case.hessian(layer).reshape(n, n))[-1].item()


def _fisher_rao(case: Case) -> float:
    """The metric in full: sum over samples of <gradient of that sample's loss, weights>^2, weight matrices only.

    Without biases that is (number of layers)^2 times the squared inner product in the outputs, which is what is
    compared here: each sample's outputs are scaled by 1 + t, and its loss is differentiated by t.
    """
    with torch.no_grad():
        logits = case.model(case.x)
    squares = []
    for i in range(len(logits)):
        t = torch.zeros((), dtype=logits.dtype, requires_grad=True)
        one = Case(case.model, case.initial, case.x[i : i + 1], case.labels[i : i + 1], case.loss)
        (slope,) = torch.autograd.grad(one.loss_of((1 + t) * logits[i : i + 1]), t)
        squares.append(slope.item() ** 2)
    return len(case.layers()) * (sum(squares) / len(squares)) ** 0.5


def _pac_bayes(case: Case) -> float:
    """The largest noise of a fine scale, from small to large, before the mean training error has risen by 0.1."""
    generator = generator_for("0123456789ab", "measure", "pac_bayes_flatness")
    start = {n: p.detach() for n, p in case.model.named_parameters()}
    noise = [{n: torch.randn(p.shape, generator=generator).to(p) for n, p in start.items()} for _ in range(10)]

    def error(sigma: float, u: dict[str, Tensor]) -> float:
        logits = functional_call(case.model, {n: p + sigma * u[n] for n, p in start.items()}, (case.x,))
        return sum(row.argmax().item() != y.item() for row, y in zip(logits, case.labels, strict=True)) / len(logits)

    clean, sigma = error(0.0, noise[0]), 1e-3
    while sum(error(sigma, u) - clean for u in noise) / 10 <= 0.1:
        sigma *= 1.02
    return 1 / sigma**2


def _distance(case: Case) -> float:
    pairs = ((p.detach(), case.initial[n]) for n, p in case.model.named_parameters())
    return sum(((p - q) ** 2).sum().item() for p, q in pairs) ** 0.5


def _loss(case: Case) -> float:
    with torch.no_grad():
        return case.loss_of(case.model(case.x)).item()


def _layers(function: Callable[[Case, str], float]) -> Callable[[Case], dict[str, float]]:
    return lambda case: {layer: function(case, layer) for layer in case.layers()}


TWINS: dict[str, Callable[[Case], float | dict[str, float]]] = {
    "relative_flatness": _layers(lambda c, n: _relative_flatness(c.weight(n).flatten(1), c.hessian(n))),
    "relative_flatness_normalized": _layers(_normalized),
    "kappa_2019": _layers(lambda c, n: _norm(c, n) * _trace(c, n)),
    "hessian_trace": _layers(_trace),
    "rho_max": _layers(lambda c, n: max(_rho(c, n))),
    "rho_sum": _layers(lambda c, n: sum(_rho(c, n))),
    "lambda_max": _layers(_lambda_max),
    "fisher_rao_norm": _fisher_rao,
    "pac_bayes_flatness": _pac_bayes,
    "weight_norm_squared": _layers(_norm),
    "distance_from_init": _distance,
    "inverse_margin": _margin,
    "train_loss": _loss,
}
