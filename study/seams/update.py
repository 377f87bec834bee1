"""The seam `update`: what is done around one of the optimizers to move the weights.

An entry is `(step) -> None` and moves `step.parameters` in place; no tensor here records gradients. What it keeps from
step to step are buffers of a parameter's shape (`like`, zero at first) or of one number a network (`counters`): it
names them where it registers, and they are saved, stacked and compacted with the optimizer's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from study.choice import Option, Registry, integer, number
from study.seams.optimizer import Optimizer, column

if TYPE_CHECKING:
    from torch import Tensor

    from study.seams.noise import Noise
    from study.seams.optimizer import Stack


@dataclass(frozen=True)
class Step:
    """One batch of every network of a stack.

    `gradients(parameters)` is that of the objective on this batch, at these or at other weights, with the same dropout;
    norm layers take their statistics from its first call only. `move(gradients)` is the optimizer's step. `state` holds
    buffer -> parameter name -> stack; `options` vectors (networks,) or plain values; `noise` each network's own draws.
    """

    parameters: Stack
    gradients: Callable[[Stack], Stack]
    move: Callable[[Stack], None]
    state: dict[str, Stack]
    options: Mapping[str, Any]
    noise: Noise


@dataclass(frozen=True)
class Update:
    """An entry and the buffers that it keeps."""

    apply: Callable[[Step], None]
    buffers: Optimizer


UPDATES: Registry[Update] = Registry("update")


def update(
    name: str, *, like: tuple[str, ...] = (), counters: tuple[str, ...] = (), **options: Option
) -> Callable[[Callable[[Step], None]], Callable[[Step], None]]:
    """Register an entry under its name, with its buffers and options."""

    def register(function: Callable[[Step], None]) -> Callable[[Step], None]:
        UPDATES.add(name, Update(function, Optimizer((), like, counters)), options, described_by=function)
        return function

    return register


@update("plain")
def plain(step: Step) -> None:
    """The optimizer itself."""
    step.move(step.gradients(step.parameters))


@update("sam", rho=number(0.05, least=0))
def sam(step: Step) -> None:
    """Foret et al. 2021: the gradient at w + rho g / |g|, g that at w; two gradients a step.

    As github.com/davda54/sam (commit 03c7768), rho and its default included; the paper was not read. Norm layers take
    their running statistics at w alone, as in that code's example.
    """
    g = step.gradients(step.parameters)
    scale = step.options["rho"] / (_norm(g) + 1e-12)
    step.move(step.gradients({n: w.addcmul(column(scale, w), g[n]) for n, w in step.parameters.items()}))


@update("asam", rho=number(0.5, least=0), eta=number(0.01, least=0))
def asam(step: Step) -> None:
    """Kwon et al. 2021: as sam, but at w + rho T^2 g / |T g|, T = |w| + eta for a weight and 1 for a bias.

    As github.com/SamsungLabs/ASAM (commit dc9b513), defaults included; the paper was not read.
    """
    g = step.gradients(step.parameters)
    size = {n: w.abs() + column(step.options["eta"], w) for n, w in step.parameters.items() if "weight" in n}
    g = {n: t * size[n] if n in size else t for n, t in g.items()}
    scale = step.options["rho"] / (_norm(g) + 1e-16)
    g = {n: t * size[n] if n in size else t for n, t in g.items()}
    step.move(step.gradients({n: w.addcmul(column(scale, w), g[n]) for n, w in step.parameters.items()}))


def _norm(stack: Stack) -> Tensor:
    """The length of each network's tensors together, (networks,): row by row, so that no network rounds another's."""
    from torch import stack as stacked
    from torch.linalg import vector_norm

    return vector_norm(stacked([vector_norm(t.flatten(1), dim=1) for t in stack.values()], 1), dim=1)


@update(
    "entropy_sgd", like=("walker", "average"), counters=("walked", "moved"),
    steps=integer(20, least=1), gamma=number(1e-4, least=0), scoping=number(1e-3, least=0),
    noise=number(1e-4, least=0), step_size=number(0.1, least=0), averaging=number(0.75, least=0, below=1),
)  # fmt: skip
def entropy_sgd(step: Step) -> None:
    """Chaudhari et al. 2017: every `steps` batches the weights w move by w - mu, mu a mean along a walk from w.

    Walk: x <- x - step_size (g(x) + gamma (x - w)) + sqrt(2 step_size) noise N(0, I); mu <- averaging mu +
    (1 - averaging) x; x = mu = w at first. gamma grows by 1 + scoping with each move. As
    github.com/ucla-vision/entropy-sgd (python/optim.py, commit 3e41ca9; the paper was not read) but for three things:
    its walk has momentum and weight decay of its own, its gamma never grows, and it takes a gradient before the walk
    that it does not use. One gradient a step; norm layers take their running statistics on the walk.
    """
    o, first = step.options, next(iter(step.parameters))
    walked, moved = (step.state[slot][first].flatten() for slot in ("walked", "moved"))
    begins = walked == 0
    gamma = o["gamma"] * (1 + o["scoping"]) ** moved
    walker, average = step.state["walker"], step.state["average"]
    for name, w in step.parameters.items():
        for slot in (walker, average):
            slot[name].copy_(w.where(column(begins, w), slot[name]))
    spread = o["noise"] * (2 * o["step_size"]).sqrt()
    for name, g in step.gradients(walker).items():
        x, w = walker[name], step.parameters[name]
        x.sub_(column(o["step_size"], w) * (g + column(gamma, w) * (x - w)))
        x.add_(column(spread, w) * step.noise.normal(f"walk.{name}", w.shape[1:]).to(w))
        average[name].mul_(column(o["averaging"], w)).addcmul_(x, column(1 - o["averaging"], w))
        step.state["walked"][name].add_(1).remainder_(o["steps"])
    _move_some(step, step.state["walked"][first].flatten() == 0)


def _move_some(step: Step, which: Tensor) -> None:
    """Move the weights of those networks whose walk has ended; the others, and their optimizers, stay as they are."""
    if which.device.type == "cpu" and not which.any():  # a GPU would have to be waited for
        return
    before = {n: w.clone() for n, w in step.parameters.items()}
    kept = {slot: {n: t.clone() for n, t in stack.items()} for slot, stack in step.state.items()}
    step.move({n: w - step.state["average"][n] for n, w in before.items()})
    for n, w in step.parameters.items():
        step.state["moved"][n].add_(1)
        w.copy_(w.where(column(which, w), before[n]))
        for slot, stack in step.state.items():
            stack[n].copy_(stack[n].where(column(which, w), kept[slot][n]))
