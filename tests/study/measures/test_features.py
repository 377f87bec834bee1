"""Feature robustness is relative flatness where the theorem says so; what has no features, or no held-out data."""

from __future__ import annotations

import copy
import math
import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from study.measures import MeasureContext, checks_of, compute, is_of_test, members
from study.measures.families.features import _rotations
from tests.study.measures.test_independent_libraries import trained


@pytest.mark.parametrize("kind", ["mlp", "lenet5", "resnet", "nin"])
def test_at_a_small_delta_it_is_relative_flatness_of_the_last_layer(kind: str) -> None:
    """Petzka et al. 2021: delta^2 / (2 m) kappa_Tr, over all rotations; NiN's ReLU behind the last layer has kinks."""
    ctx, delta = trained(kind), 1e-4 if kind == "nin" else 1e-2
    layers = compute("relative_flatness", ctx)["layers"]
    last = [name for name, p in ctx.model.named_parameters() if p.ndim >= 2][-1].removesuffix(".weight")
    m = ctx.model.get_submodule(last).weight[0].numel()  # type: ignore[union-attr, operator]
    found = compute(f"feature_robustness(delta={delta})", ctx)
    expected = delta**2 / (2 * m) * layers[last]
    assert 0 < found["standard_error"] < 0.1 * found["value"]
    assert abs(found["value"] - expected) < 4 * found["standard_error"] + 1e-3 * expected


def test_rotations_are_orthogonal_and_spread_evenly() -> None:
    """E O = 0 and E O_ij^2 = 1 / m, which the theorem rests on."""
    drawn = torch.stack(list(_rotations(torch.zeros(2, 4, dtype=torch.float64), torch.Generator().manual_seed(0))))
    identity = torch.eye(4, dtype=torch.float64).expand_as(drawn)
    torch.testing.assert_close(drawn @ drawn.mT, identity)
    assert float(drawn.mean(0).abs().max()) < 4 * math.sqrt(1 / 4 / len(drawn))
    assert float((drawn.square().mean(0) - 0.25).abs().max()) < 4 * math.sqrt(2 * 3 / (16 * 6) / len(drawn))


def test_without_test_data_constancy_is_missing() -> None:
    with pytest.raises(ValueError, match="label_constancy: it is of test data, and there is none here"):
        compute("label_constancy", trained("mlp"))


def test_close_points_by_hand() -> None:
    """Nearest distances 1, 1, 2, 2: the median is 1.5, which two points have another within, of another label."""
    points = torch.tensor([[0.0], [1.0], [5.0], [7.0]])
    model = nn.Sequential(nn.Linear(1, 2))
    ctx = MeasureContext(model, {}, points, torch.tensor([0, 1, 1, 1]), "cross_entropy")
    ctx.held_out = points, torch.tensor([0, 1, 1, 1])
    assert compute("label_constancy", ctx)["value"] == 1.0
    assert compute("label_constancy(quantile=0.9)", ctx)["value"] == 0.5  # two points of four: 5 and 7 are of one label


class HeadFirst(nn.Module):
    """Its last layer is registered first."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body = nn.Linear(3, 2), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).relu())


class Twice(HeadFirst):
    """Its last layer is run twice, and square."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.head(self.body(x).relu()))


class Functional(HeadFirst):
    """Its head's weights are used without its being run."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(self.body(x).relu(), self.head.weight)


class Owner(HeadFirst):
    """Its head is a matrix of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.matrix = nn.Identity(), nn.Parameter(torch.randn(3, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x).relu() @ self.matrix


class Auxiliary(HeadFirst):
    """A head that is run last is no part of the outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = self.head(h := self.body(x).relu())
        self.other(h)
        return outputs


class ByName(HeadFirst):
    """Its last layer is called by keyword."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(input=self.body(x).relu())


class Scaled(nn.Sequential):
    """A Sequential that does more than run its parts."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 3 * super().forward(x) + 1


def of(model: nn.Module, *shape: int) -> MeasureContext:
    torch.manual_seed(0)
    x = torch.randn(20, *shape, dtype=torch.float64)
    ctx = MeasureContext(model.double().eval(), {}, x, torch.arange(20) % 2, "cross_entropy")
    ctx.held_out = x, ctx.labels
    return ctx


def test_the_last_layer_is_the_one_that_is_run_last() -> None:
    torch.manual_seed(0)
    model = HeadFirst()
    in_turn = nn.Sequential(model.body, nn.ReLU(), model.head)
    for label in ("feature_robustness", "label_constancy"):
        assert compute(label, of(model, 4))["value"] == pytest.approx(
            compute(label, of(in_turn, 4))["value"], rel=1e-12
        )


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Functional(), r"features: body: the last layer .*; every other is to be run as a module"),
        (Owner(), r"features: Owner: the last layer"),
        (Auxiliary(), r"features: other: the last layer"),
        (Twice(), r"features: head: the last layer with weights is to be a linear layer .*, run once"),
        (nn.Sequential(nn.Unflatten(1, (4, 1, 1)), nn.Conv2d(4, 4, 1, groups=2), nn.Flatten()), r"no linear layer"),
        (nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))), r"no linear layer and no convolution"),
        (nn.Sequential(nn.ReLU()), r"features: the network has no linear layer and no convolution"),
        (nn.Sequential(nn.Linear(2049, 2)), r"features: 0: a neuron has 2049 inputs, allowed: 2048 at most"),
    ],
)
def test_a_network_without_one_last_layer_is_refused(model: nn.Module, said: str) -> None:
    refused = [check for check in checks_of("feature_robustness") if _refuses(check, model, said)]
    if not refused:  # told by a forward pass alone
        with pytest.raises((ValueError, TypeError), match=said):
            compute("feature_robustness", of(model, 4))


def _refuses(check, model: nn.Module, said: str) -> bool:  # type: ignore[no-untyped-def]
    try:
        check(model)
    except ValueError as error:
        assert re.search(said, str(error)), error
        return True
    return False


def test_a_layer_that_is_called_by_keyword_has_the_same_features() -> None:
    torch.manual_seed(0)
    model = ByName()
    in_turn = nn.Sequential(model.body, nn.ReLU(), model.head)
    assert compute("label_constancy", of(model, 4))["value"] == compute("label_constancy", of(in_turn, 4))["value"]


def test_a_sequence_with_a_forward_of_its_own_is_not_cut() -> None:
    torch.manual_seed(0)
    model = Scaled(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    ctx = of(model, 4)
    torch.testing.assert_close(ctx.logits, model(ctx.x))
    assert compute("feature_robustness", ctx) == compute("feature_robustness", of(nn.Sequential(model), 4))


def test_wide_features_are_refused_for_rotations_alone() -> None:
    assert [c.__name__ for c in checks_of("label_constancy")] == ["_check_layers"]
    for check in checks_of("label_constancy"):
        check(nn.Sequential(nn.Linear(4096, 2)))


def test_a_layer_with_tied_weights_moves_alone() -> None:
    torch.manual_seed(0)
    first, last = nn.Linear(4, 4), nn.Linear(4, 4)
    last.weight = first.weight
    tied = nn.Sequential(nn.Flatten(), first, nn.ReLU(), last)
    apart = copy.deepcopy(tied)
    apart[3].weight = nn.Parameter(first.weight.detach().clone())
    values = [compute("feature_robustness", of(nn.Sequential(nn.Identity(), m), 4))["value"] for m in (tied, apart)]
    assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_a_module_that_stands_twice_in_a_sequence_is_run_twice() -> None:
    """Its outputs, and what noise makes of them, are those of the network with two of them."""
    torch.manual_seed(0)
    act, layers = nn.ReLU(), [nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)]
    shared = nn.Sequential(layers[0], act, layers[1], act, layers[2])
    apart = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    one, two = of(shared, 4), of(apart, 4)
    torch.testing.assert_close(one.logits, shared(one.x))
    torch.testing.assert_close(one.from_layer("4")[1], shared[:4](one.x))
    for ctx in (one, two):
        ctx.labels = apart(one.x).argmax(1)
    for label in ("feature_robustness", "pac_bayes_flatness(noise=common)", "fisher_rao_norm", "lambda_max"):
        assert compute(label, one)["value"] == compute(label, two)["value"], label


def test_terms_stand_in_their_own_set_alone() -> None:
    terms = {"feature_robustness", "feature_robustness(delta=0.01)", "label_constancy"}
    assert set(members("set:bound2021")) == terms
    assert not terms & {*members("set:all"), *members("set:library")}
    assert [label for label in sorted(terms) if is_of_test(label)] == ["label_constancy"]
    assert "kappa_2019(form=max)" in members("set:petzka2019")
    assert "kappa_2019(form=max)" not in members("set:library")
