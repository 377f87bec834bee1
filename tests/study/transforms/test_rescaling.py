"""Reparameterization leaves the function as it was, and the measures notice just what they should."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from study.choice import Choice
from study.config import RunConfig, run_key
from study.grid import load_study
from study.measures import MEASURES, MeasureContext, compute
from study.records import collect
from study.run import run_shard
from study.storage.rows import read_table
from study.training.start import build_model
from study.transforms.places import LAYER, find_places
from study.transforms.rescaling import factors, function_difference, last_two_layers, reparameterized


@pytest.mark.parametrize("name", ["layerwise_1", "layerwise_2", "neuronwise_1", "factor_1e-3", "factor_20"])
@pytest.mark.parametrize("model", ["mlp", "lenet5"])
def test_outputs_stay_and_weights_move(model: str, name: str) -> None:
    network = build_model(RunConfig(dataset="fashion_mnist", model=Choice(model))).double()
    before = copy.deepcopy(network.state_dict())
    other = reparameterized(network, name, "3")
    torch.manual_seed(0)
    x = torch.randn(20, 1, 28, 28, dtype=torch.float64)
    torch.testing.assert_close(other(x), network(x), rtol=1e-10, atol=1e-12)
    assert all(torch.equal(before[n], t) for n, t in network.state_dict().items())
    last = max(n for n in before if n.endswith("weight") and n.startswith("fc"))
    previous = f"fc{int(last[2]) - 1}"
    state = other.state_dict()
    a = factors(name, len(before[f"{previous}.weight"]), "3")
    torch.testing.assert_close(state[f"{previous}.weight"] * a[:, None], before[f"{previous}.weight"])
    torch.testing.assert_close(state[f"{previous}.bias"] * a, before[f"{previous}.bias"])
    torch.testing.assert_close(state[last] / a, before[last])


def test_a_channel_scales_all_its_pixels() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 4)).double()
    x = torch.randn(5, 1, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(reparameterized(network, "neuronwise_1", "0")(x), network(x))


@pytest.mark.parametrize("name", ["layerwise_1", "neuronwise_1", "factor_1e2"])
@pytest.mark.parametrize(
    ("norm", "linear"),
    [
        (nn.BatchNorm2d(6), nn.Linear(24, 4)),
        (nn.GroupNorm(2, 6), nn.Linear(24, 4)),
        (nn.Sequential(nn.Flatten(), nn.LayerNorm(96)), nn.Linear(96, 4)),
    ],
)
def test_a_norm_layer_is_rescaled_by_its_scale_and_shift(norm: nn.Module, linear: nn.Linear, name: str) -> None:
    torch.manual_seed(0)
    pool = nn.MaxPool2d(2) if linear.in_features == 24 else nn.Identity()
    network = nn.Sequential(nn.Conv2d(1, 6, 3), copy.deepcopy(norm), nn.ReLU(), pool, nn.Flatten(), linear).double()
    for parameter in network[1].parameters():
        nn.init.normal_(parameter)
    x = torch.randn(5, 1, 6, 6, dtype=torch.float64)
    network.train()(x)  # running statistics that are not 0 and 1
    network.eval()
    other = reparameterized(network, name, "0")
    torch.testing.assert_close(other(x), network(x), rtol=1e-12, atol=1e-12)
    (scale, shift), (was, had) = other[1].parameters(), network[1].parameters()
    a = factors(name, len(was), "0")
    torch.testing.assert_close(scale * a, was)
    torch.testing.assert_close(shift * a, had)
    assert torch.equal(other[0].weight, network[0].weight) and not torch.equal(other[5].weight, network[5].weight)


def test_the_measures_of_a_network_with_a_norm_layer_are_invariant_as_they_should() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).double()
    x, labels = torch.randn(40, 6, dtype=torch.float64), torch.randint(3, (40,))
    network.train()(x)
    initial = {n: p.detach().clone() for n, p in network.named_parameters()}
    context = MeasureContext(network.eval(), initial, x, labels, "cross_entropy", key="0")
    for label, stays in (("relative_flatness", True), ("kappa_2019", True), ("hessian_trace", False)):
        before, after = (compute(name, context)["layers"]["3"] for name in (label, f"{label}@layerwise_1"))
        assert (after == pytest.approx(before, rel=1e-9)) is stays


def test_factors_are_those_of_the_protocol() -> None:
    drawn = torch.cat([factors(f"neuronwise_{k}", 100, str(seed)) for k in range(1, 6) for seed in range(5)])
    assert (drawn.min(), drawn.max()) == (5, 25)
    assert torch.equal(drawn, drawn.round())
    assert len(factors("layerwise_1", 9, "0").unique()) == 1
    assert torch.equal(factors("layerwise_1", 9, "0"), factors("layerwise_1", 9, "0"))
    assert len({factors("layerwise_1", 1, str(seed)).item() for seed in range(30)}) > 5
    assert factors("factor_1e-1", 2, "0").tolist() == [0.1, 0.1]


@pytest.mark.parametrize(
    "name", ["layerwise", "layerwise_0", "neuronwise_x", "factor_0", "factor_0.5", "factor_-1", "rotate_1"]
)
def test_wrong_names(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allowed"):
        factors(name, 2, "0")
    path = tmp_path / "s.yaml"
    path.write_text(f"measures: [train_loss]\nreparameterize: [{name}]\n")
    with pytest.raises(ValueError, match=f"reparameterize: '{name}'"):
        load_study(path)


def test_a_grouped_convolution_may_be_rescaled_and_not_the_last_layer() -> None:
    for last in (nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 8, 1, groups=4)):
        network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), last, nn.Flatten())
        with pytest.raises(ValueError, match=r"reparameterize: 2: groups \d: allowed: 1, as last layer"):
            reparameterized(network, "factor_3", "0")
    network = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.ReLU(), nn.Conv2d(4, 3, 2), nn.Flatten())
    x = torch.randn(5, 2, 6, 6)
    function_difference(network(x).detach(), reparameterized(network, "neuronwise_1", "0")(x).detach())


@pytest.mark.parametrize(
    "parts",
    [(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(2), nn.Dropout1d(), nn.Flatten(), nn.Linear(8, 3)),
     (nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)),
     (nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3))],
)  # fmt: skip
def test_what_the_audit_scales_at_a_place_is_rescaled(parts: tuple[nn.Module, ...]) -> None:
    network = nn.Sequential(*parts).double().eval()
    (place,) = find_places(network)
    assert last_two_layers(network) == (place.first, *place.readers) and LAYER not in place.refused
    x = torch.randn(5, 1, *[6] * (network[0].weight.ndim - 2), dtype=torch.float64)
    function_difference(network(x), reparameterized(network, "neuronwise_1", "0")(x), 1e-12)


def test_networks_that_cannot_be_rescaled() -> None:
    for middle in (nn.Tanh(), nn.BatchNorm1d(3, affine=False)):
        network = nn.Sequential(nn.Linear(2, 3), middle, nn.Linear(3, 2))
        with pytest.raises(ValueError, match="positively homogeneous"):
            reparameterized(network, "layerwise_1", "0")
    with pytest.raises(ValueError, match="two or more layers"):
        reparameterized(nn.Sequential(nn.Linear(2, 3)), "layerwise_1", "0")


def test_a_changed_function_is_refused() -> None:
    assert function_difference(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0 + 1e-6])) < 1e-6
    for wrong in (2.1, float("nan")):
        with pytest.raises(ValueError, match="not preserved"):
            function_difference(torch.tensor([1.0, 2.0]), torch.tensor([1.0, wrong]))


def test_labels_reach_the_records(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "fixed: {hidden: [8, 6], max_epochs: 2, stops: [epoch_2]}\n"
        "measures: [relative_flatness, hessian_trace]\nreparameterize: [layerwise_1, neuronwise_1]\n"
    )
    study = load_study(path)
    assert study.name == "s"
    run_shard(study.runs, study.measures, runs_root=tmp_path / "runs")
    (row,) = read_table(collect(study, tmp_path / "runs", tmp_path / "results")[0])
    value = {name: float(row[f"measure.{name}"]) for name in study.measures}
    assert value["relative_flatness@layerwise_1"] == pytest.approx(value["relative_flatness"], rel=1e-4)
    assert value["hessian_trace@layerwise_1"] != pytest.approx(value["hessian_trace"], rel=0.1)
    assert "measure.relative_flatness@neuronwise_1.fc1" not in row  # its weights did not change
    for transform in ("layerwise_1", "neuronwise_1"):  # what was seen of the outputs when it was applied
        assert 0 <= float(row[f"reparameterized.{transform}.difference"]) < 1e-5
    assert row["key"] == run_key(study.runs[0])


def test_the_difference_is_recorded() -> None:
    network = build_model(RunConfig(hidden=(8, 6)))
    torch.manual_seed(0)
    ctx = MeasureContext(network, {}, torch.rand(30, 64), torch.randint(10, (30,)), "cross_entropy", "k")
    assert 0 <= compute("hessian_trace@neuronwise_1", ctx)["difference"] < 1e-5
    assert "difference" not in compute("hessian_trace", ctx)


@pytest.mark.parametrize("model", ["mlp", "lenet5"])
def test_networks_of_one_seed_are_rescaled_each_by_its_own_factor(model: str) -> None:
    network = build_model(RunConfig(dataset="fashion_mnist", model=Choice(model))).eval()
    x, y = torch.rand(4, 1, 28, 28), torch.randint(10, (4,))
    keys = [run_key(RunConfig(dataset="fashion_mnist", model=Choice(model), lr=lr)) for lr in (0.1, 0.2, 0.3, 0.4, 0.5)]
    each = [MeasureContext(network, {}, x, y, "cross_entropy", key).reparameterized("layerwise_1") for key in keys]
    scales = [
        float(ctx.model.state_dict()["fc2.weight"].norm() / network.state_dict()["fc2.weight"].norm()) for ctx in each
    ]
    assert len({round(1 / scale) for scale in scales}) > 1
    assert all(1 / scale == pytest.approx(round(1 / scale)) and 4.9 < 1 / scale < 25.1 for scale in scales)


@pytest.mark.parametrize("model", ["mlp", "lenet5"])
def test_layers_before_the_change_keep_their_values(model: str) -> None:
    """Only what changed is measured again; measuring all of the rescaled network gives the same, layer by layer."""
    torch.manual_seed(0)
    network = build_model(RunConfig(dataset="fashion_mnist", model=Choice(model), hidden=(8, 7, 6))).double().eval()
    ctx = MeasureContext(
        network, {}, torch.rand(40, 1, 28, 28).double(), torch.randint(10, (40,)), "cross_entropy", "k"
    )
    for transform in ("layerwise_1", "neuronwise_1"):
        whole = MeasureContext(reparameterized(network, transform, "k"), {}, ctx.x, ctx.labels, "cross_entropy", "k")
        for label, kind in MEASURES.items():
            if not kind.layerwise:
                continue
            expected, found = compute(label, whole), compute(f"{label}@{transform}", ctx)
            last_two = list(expected["layers"])[-2:]
            assert list(found["layers"]) == last_two
            assert found["value"] == pytest.approx(expected["value"], rel=1e-8), label
            for layer in last_two:
                assert found["layers"][layer] == pytest.approx(expected["layers"][layer], rel=1e-8), label


@pytest.mark.parametrize("label", ["kappa_2019", "kappa_2019(over=max)", "rho_sum", "kappa_2019(form=max)"])
def test_norm_layers_count_neither_before_nor_after(label: str) -> None:
    """The curvature pass has their blocks, too; a sum over layers of the copy is of the layers of the network."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)
    ).double()  # fmt: skip
    network(torch.randn(50, 5).double())
    ctx = MeasureContext(network.eval(), {}, torch.randn(40, 5).double(), torch.arange(40) % 3, "cross_entropy", "k")
    before, after = compute(label, ctx), compute(f"{label}@layerwise_1", ctx)
    assert after["value"] == pytest.approx(before["value"], rel=1e-4 if "form=max" in label else 1e-9)
    assert list(before["layers"]) == ["0", "3", "5"] and list(after["layers"]) == ["3", "5"]


@pytest.mark.parametrize(
    ("section", "message"),
    [("{layerwise_1: [hessian_trace]}", "is not measured before it"), ("{layerwise_1: []}", "a list of measures"),
     ("{layerwise_1: train_loss}", "a list of measures"), ("{rotate_1: [train_loss]}", "allowed, each once"),
     ("{layerwise_1: [train_loss, train_loss]}", "each once"), ("layerwise_1", r"\[transforms\]")],
)  # fmt: skip
def test_sections_that_are_refused(section: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"measures: [train_loss]\nreparameterize: {section}\n")
    with pytest.raises(ValueError, match=message):
        load_study(path)


def test_each_transform_may_name_its_measures(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(
        "measures: [train_loss, hessian_trace]\n"
        "reparameterize: {layerwise_1: [hessian_trace], factor_1e3: [train_loss, hessian_trace]}\n"
    )
    made = load_study(path).measures[2:]
    assert made == ("hessian_trace@layerwise_1", "train_loss@factor_1e3", "hessian_trace@factor_1e3")
