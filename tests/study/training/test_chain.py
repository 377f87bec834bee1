"""Fully connected networks by hand give the bits of the general way, vmap of the same module."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from study.choice import Choice
from study.config import RunConfig, config_from_dict
from study.seams.noise import Noise
from study.seams.objective import OBJECTIVES, Evaluation
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


def both_ways(
    model: dict[str, Any], objective: Callable[[Evaluation], Tensor], loss: str = "cross_entropy"
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


@pytest.mark.parametrize("objective", [plain, by_logits])
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_gradients_and_logits_are_those_of_vmap(
    model: dict[str, Any], objective: Callable[[Evaluation], Tensor]
) -> None:
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


def test_another_loss() -> None:
    hand, general, _, _ = both_ways({}, plain, "squared_error")
    assert all(torch.equal(hand[name], general[name]) for name in hand)


def test_what_is_no_chain_goes_the_general_way() -> None:
    digits = config_from_dict({"dataset": "digits_images", "model": "nin"})
    assert chain_of(build_model(digits)) is None
    assert chain_of(nn.Sequential()) is None
    assert chain_of(nn.Sequential(nn.Linear(4, 4), nn.ReLU())) is None
    assert chain_of(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4))) is None
    assert chain_of(nn.Sequential(nn.Flatten(0), nn.Linear(4, 4))) is None
    odd = StackedForward(build_model(RunConfig(hidden=(7,))), "cross_entropy", "stacked", torch.zeros(64))
    assert odd.chain is not None and not odd.chain.fits(N)


def test_a_chain_can_be_trained() -> None:
    check_trainable(RunConfig(hidden=HIDDEN, model=Choice("mlp")), None)
