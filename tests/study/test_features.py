"""Feature robustness is relative flatness where the theorem says so; what has no features, or no held-out data."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from study.measures import MeasureContext, compute, members
from study.measures.features import _rotations
from tests.study.test_independent_libraries import trained


@pytest.mark.parametrize("kind", ["mlp", "lenet5", "resnet", "nin"])
def test_at_a_small_delta_it_is_relative_flatness_of_the_last_layer(kind: str) -> None:
    """Petzka et al. 2021: delta^2 / (2 m) kappa_Tr, over all rotations; NiN's ReLU behind the last layer has kinks."""
    ctx, delta = trained(kind), 1e-4 if kind == "nin" else 1e-2
    layers = compute("relative_flatness", ctx)["layers"]
    last = [name for name, p in ctx.model.named_parameters() if p.ndim >= 2][-1].removesuffix(".weight")
    m = ctx.model.get_submodule(last).weight[0].numel()  # type: ignore[union-attr, operator]
    found = compute(f"feature_robustness(delta={delta})", ctx)
    expected = delta**2 / (2 * m) * layers[last]
    assert found["standard_error"] < 0.06 * found["value"], "at 200 draws, if not before"
    assert abs(found["value"] - expected) < 4 * found["standard_error"] + 1e-3 * expected


def test_rotations_are_orthogonal_and_spread_evenly() -> None:
    """E O = 0 and E O_ij^2 = 1 / m, which the theorem rests on."""
    drawn = torch.stack(list(_rotations(torch.zeros(2, 4, dtype=torch.float64))))
    identity = torch.eye(4, dtype=torch.float64).expand_as(drawn)
    torch.testing.assert_close(drawn @ drawn.mT, identity)
    assert float(drawn.mean(0).abs().max()) < 4 * math.sqrt(1 / 4 / len(drawn))
    assert float((drawn.square().mean(0) - 0.25).abs().max()) < 4 * math.sqrt(2 * 3 / (16 * 6) / len(drawn))


def test_without_held_out_data_constancy_is_missing() -> None:
    with pytest.raises(ValueError, match="label_constancy: it is of held-out data, and there is none here"):
        compute("label_constancy", trained("mlp"))


def test_close_points_by_hand() -> None:
    """Nearest distances 1, 1, 2, 2: the median is 1.5, and one pair is as close, twice; its labels differ."""
    points = torch.tensor([[0.0], [1.0], [5.0], [7.0]])
    model = nn.Sequential(nn.Linear(1, 2))
    ctx = MeasureContext(model, {}, points, torch.tensor([0, 1, 1, 1]), "cross_entropy")
    ctx.held_out = points, torch.tensor([0, 1, 1, 1])
    assert compute("label_constancy", ctx)["value"] == 1.0
    assert compute("label_constancy(quantile=0.9)", ctx)["value"] == 0.5  # 5 and 7 are of one label


def test_a_network_without_features_is_refused() -> None:
    model = nn.Sequential(nn.Embedding(5, 3))
    ctx = MeasureContext(model, {}, torch.arange(5), torch.arange(5) % 3, "cross_entropy")
    with pytest.raises(ValueError, match="the last layer with weights is to be a linear layer or a convolution"):
        compute("feature_robustness", ctx)


def test_terms_stand_in_their_own_set_alone() -> None:
    terms = {"feature_robustness", "feature_robustness(delta=0.01)", "label_constancy"}
    assert set(members("set:bound2021")) == terms
    assert not terms & {*members("set:all"), *members("set:library")}
    assert "kappa_2019(form=max)" in members("set:petzka2019")
    assert "kappa_2019(form=max)" not in members("set:library")
