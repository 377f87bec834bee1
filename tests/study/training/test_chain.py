"""Fully connected networks by hand give the bits of the general way, vmap of the same module."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from study.choice import Choice
from study.config import RunConfig, config_from_dict
from study.loss import by_class, mean_loss_gradient, sample_losses
from study.models.pooling import HalvingPool
from study.seams.noise import Noise
from study.seams.objective import OBJECTIVES, Evaluation
from study.training import products
from study.training.chain import chain_of
from study.training.forward import StackedForward
from study.training.stack import stack_tensors
from study.training.start import build_model
from study.training.trainable import check_trainable

N, HIDDEN = 8, (8, 12)
MODELS: list[dict[str, Any]] = [
    {}, {"activation": "tanh"}, {"activation": "gelu"}, {"activation": "softplus"}, {"dropout": 0.3},
    {"activation": "silu", "dropout": 0.2},
]  # fmt: skip


def by_logits(evaluation: Evaluation) -> Tensor:
    return OBJECTIVES["label_smoothing"](evaluation, {"smoothing": torch.tensor([0.1, 0.2, 0.3])})


def by_weights_too(evaluation: Evaluation) -> Tensor:
    squares = sum(w.square().flatten(1).sum(1) for w in evaluation.parameters.values())
    return evaluation.losses().mean(-1) + 0.1 * squares


def by_another_pass(evaluation: Evaluation) -> Tensor:
    """Its own logits alone: those that the loop has do not enter."""
    return evaluation.forward(evaluation.parameters, evaluation.x + 1).square().mean((1, 2))


def plain(evaluation: Evaluation) -> Tensor:
    return evaluation.losses().mean(-1)


Objective = Callable[[Evaluation], Tensor] | None


def both_ways(
    model: dict[str, Any], objective: Objective, loss: str = "cross_entropy"
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, Tensor]:
    """Gradients and logits by hand and by vmap, of three networks."""
    config = config_from_dict({"hidden": HIDDEN, "model": {"mlp": model}, "loss": loss})
    networks = [build_model(RunConfig(**{**config.__dict__, "seed": seed})) for seed in range(3)]
    parameters = stack_tensors([{n: p.detach() for n, p in m.named_parameters()} for m in networks], "cpu")
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(3, N, 64, generator=generator), torch.randint(10, (3, N), generator=generator)
    forward = StackedForward(networks[0], loss, "stacked", x[0, 0])
    rates = {path: torch.full((3,), model.get("dropout", 0.0)) for path in forward.dropouts}
    masks = forward.masks(rates, Noise([0, 1, 2], [0, 0, 0], "cpu"), N) if model.get("dropout") else {}
    assert forward.chain is not None and forward.chain.fits(N)
    hand = forward.gradients(parameters, {}, masks, x, y, objective), forward.evaluate(parameters, {}, x[0])
    forward.chain = None
    general = forward.gradients(parameters, {}, masks, x, y, objective), forward.evaluate(parameters, {}, x[0])
    return hand[0], general[0], hand[1], general[1]


@pytest.mark.parametrize("objective", [None, plain, by_logits])
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_gradients_and_logits_are_those_of_vmap(model: dict[str, Any], objective: Objective) -> None:
    hand, general, logits, expected = both_ways(model, objective)
    assert hand.keys() == general.keys()
    assert all(torch.equal(hand[name], general[name]) for name in hand)
    assert torch.equal(logits, expected)


@pytest.mark.parametrize("objective", [by_weights_too, by_another_pass])
def test_an_objective_may_ask_for_weights_and_for_another_pass(objective: Callable[[Evaluation], Tensor]) -> None:
    hand, general, _, _ = both_ways({"activation": "tanh"}, objective)
    for name in hand:
        torch.testing.assert_close(hand[name], general[name], rtol=1e-5, atol=1e-7)
        assert hand[name].abs().sum() > 0


@pytest.mark.parametrize("objective", [None, plain])
def test_another_loss(objective: Objective) -> None:
    hand, general, _, _ = both_ways({}, objective, "squared_error")
    assert all(torch.equal(hand[name], general[name]) for name in hand)


@pytest.mark.parametrize(
    ("model", "n"),
    [("lenet5", 4), ("lenet5", 12), ({"vgg": {"depth": 2, "width": 3, "norm": "none"}}, 4)],
)
@pytest.mark.parametrize("objective", [None, by_weights_too])
def test_convolutions_of_one_network(model: Any, n: int, objective: Objective) -> None:
    """By patches where they are few, and by torch's kernels; beside autograd through the module."""
    config = config_from_dict({"dataset": "cifar10", "model": model})
    network = build_model(config)
    parameters = {name: p.detach().clone().unsqueeze(0) for name, p in network.named_parameters()}
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(1, n, 3, 32, 32, generator=generator), torch.randint(10, (1, n), generator=generator)
    forward = StackedForward(network, "cross_entropy", "sequential", x[0, 0])
    assert forward.chain is not None
    by_hand = forward.gradients(parameters, {}, {}, x, y, objective)
    with torch.no_grad():
        logits = forward.evaluate(parameters, {}, x[0])
    forward.chain = None
    general = forward.gradients(parameters, {}, {}, x, y, objective)
    with torch.no_grad():
        torch.testing.assert_close(logits, forward.evaluate(parameters, {}, x[0]), rtol=1e-4, atol=1e-6)
    assert by_hand.keys() == general.keys()
    for name in general:
        torch.testing.assert_close(by_hand[name], general[name], rtol=1e-4, atol=1e-6)


def test_both_ways_of_a_convolution_were_taken() -> None:
    first = 75 * 28 * 28  # numbers in the patches of an image
    assert 4 * first <= products.WRITTEN_OUT < 12 * first
    assert HalvingPool.pays(torch.zeros(12, 6, 28, 28)) and not HalvingPool.pays(torch.zeros(4, 6, 28, 28))
    few, many = nn.Conv2d(3, 6, 5), nn.Conv2d(3, 16, 5)
    x = torch.zeros(1, 12, 3, 32, 32)
    assert products.pools(x, few, HalvingPool()) and not products.pools(x[:, :4], few, HalvingPool())
    assert not any(products.pools(x, few, behind) for behind in (nn.ReLU(), None))
    assert not products.pools(x, many, HalvingPool())


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("shape", [(1, 4, 10), (3, 21, 10), (5, 64, 3)])
def test_the_gradient_of_the_mean_loss_is_that_of_autograd(shape: tuple[int, ...], loss: str) -> None:
    generator = torch.Generator().manual_seed(2)
    logits = 5 * torch.randn(shape, generator=generator)
    labels = torch.randint(shape[-1], shape[:-1], generator=generator)
    for given in (logits, by_class(logits, loss)):
        leaf = given.detach().requires_grad_()
        (expected,) = torch.autograd.grad(sample_losses(leaf, labels, loss).mean(-1).sum(), [leaf])
        assert torch.equal(mean_loss_gradient(given, labels, loss), expected)


def test_what_is_no_chain_goes_the_general_way() -> None:
    digits = config_from_dict({"dataset": "digits_images", "model": "nin"})
    assert chain_of(build_model(digits)) is None
    assert chain_of(nn.Sequential()) is None
    assert chain_of(nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.ReLU())) is None
    assert chain_of(nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4))) is None
    assert chain_of(nn.Sequential(nn.Flatten(0), nn.Linear(4, 4))) is None
    stacked = StackedForward(
        build_model(config_from_dict({"dataset": "mnist", "model": "lenet5"})), "cross_entropy", "stacked",
        torch.zeros(1, 28, 28),
    )  # fmt: skip
    assert stacked.chain is None
    odd = StackedForward(build_model(RunConfig(hidden=(7,))), "cross_entropy", "stacked", torch.zeros(64))
    assert odd.chain is not None and not odd.chain.fits(N)


def test_a_chain_can_be_trained() -> None:
    check_trainable(RunConfig(hidden=HIDDEN, model=Choice("mlp")), None)


@pytest.mark.parametrize("behind", [[], [nn.Tanh()]])
def test_what_a_derivative_reads_is_not_written_over(behind: list[nn.Module]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 8), *behind, nn.ReLU(), nn.Linear(8, 3)).double()
    x, chain = torch.randn(5, 6, dtype=torch.float64), chain_of(network)
    assert chain is not None
    taken = chain.forward({name: p.detach().unsqueeze(0) for name, p in network.named_parameters()}, {}, x[None])
    found = taken.backward(torch.ones_like(taken.logits))
    network(x).sum().backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(found[name].squeeze(0), parameter.grad)
