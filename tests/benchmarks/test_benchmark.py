"""The benchmark runs where it stands, and BackPACK finds the same traces."""

import importlib.util
import json
import math
import sys

import pytest
import torch
from torch import nn

from tests.benchmarks import curvature, measuring, networks, peers, stacked, statistics_scale


def test_statistics_benchmark_equals_its_peer(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    statistics_scale.main(["--rows", "200", "--measures", "6", "--resamples", "20"])
    rows = json.loads((tmp_path / "bench" / "statistics.json").read_text())
    assert [row["case"] for row in rows[-2:]] == ["all statistics", "tau-b bootstrap of one measure"]
    assert all({"case", "peer", "time_ratio", "memory_ratio", "error"} <= row.keys() for row in rows)
    assert rows[-1]["error"] < 1e-12


def test_rows_of_a_case(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["curvature", "--repeats", "1", "--threads", "1", "--only", "tiny"])

    def tiny(device: str) -> dict:
        layer, x, y = nn.Linear(5, 3), torch.randn(20, 5), torch.randint(3, (20,))
        truth = peers.ours(layer, x, y, dtype=torch.float64)()
        calls = {"ours": peers.ours(layer, x, y), "Hessian by a loop": peers.hessian_loop(layer, x, y, 15)}
        return {"tiny": lambda: curvature.Case("tiny", calls, truth)}

    monkeypatch.setattr(curvature, "build", tiny)
    curvature.main()
    measured = json.loads((tmp_path / "bench" / "curvature.json").read_text())
    rows = measured["rows"]
    assert measured["command"] == "--repeats 1 --threads 1 --only tiny"
    assert curvature.table(rows).count("| tiny |") == 2
    assert [row["peer"] for row in rows] == ["ours", "Hessian by a loop"]
    assert all({"case", "peer", "time_ratio", "memory_ratio", "error"} <= row.keys() for row in rows)
    assert all(row["error"] < 1e-5 and row["seconds"] > 0 for row in rows)


def test_peers_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a fresh clone: nothing of theirs is imported, and the case is measured without them."""
    for package in ("backpack", "curvlinops", "pyhessian"):
        monkeypatch.setitem(sys.modules, package, None)  # importing it fails
    find = importlib.util.find_spec
    missing = {"backpack", "curvlinops", "pyhessian"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else find(name))
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    case = curvature.network_case("tiny", model, (torch.randn(20, 4), torch.randint(3, (20,))), is_small=True)
    assert [name.split(",")[0] for name in case.calls] == ["ours", "forward + backward", "ours"]


def test_stacked_networks_have_the_traces_of_each() -> None:
    torch.manual_seed(0)
    models = [networks.mlp(6, 5, 5, 3) for _ in range(3)]
    x, y = torch.randn(7, 6), torch.randint(3, (7,))
    expected = {f"{k}.{n}": v for k, model in enumerate(models) for n, v in peers.ours(model, x, y)().items()}
    for count, samples in ((1, 7), (2, 3), (3, 7)):
        assert stacked.by_hand(models, x, count, samples) == pytest.approx(expected, rel=1e-5)


def test_networks_have_the_shapes_of_their_data() -> None:
    x, _ = networks.images(2)
    for build in (networks.lenet5, networks.vgg, networks.resnet18):
        assert build()(x).shape == (2, 10)
    model, pairs, labels = networks.digit_pairs(n=100, loss=math.inf)
    assert model(pairs).shape == (100, 100)
    assert int(labels.max()) < 100


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # BackPACK's own
def test_backpack_finds_the_same_traces() -> None:
    torch.manual_seed(0)
    model, (x, y) = networks.lenet5().double(), networks.images(20)
    assert peers.backpack(model, x.double(), y)() == pytest.approx(peers.ours(model, x.double(), y)(), rel=1e-10)


def test_rows_of_measuring_sum_up_transforms_and_compare_rounds_of_a_pair() -> None:
    one = {measuring.PASS: (0.5, None)}
    ours = [one | {"a": (1.0, 2.0), "a@factor_2": (1.0, 4.0), "keskar": (2.0, None)} for _ in range(2)]
    theirs = [one | {"a": (n * 2.0, 2.0), "a@factor_2": (n * 2.0, 5.0), "keskar": (2.0, None)} for n in (1, 3)]
    made = {(row["case"], row["peer"]): row for row in measuring.rows({"ours": ours, "against": theirs}, 6)}
    assert made["a", "against"]["seconds"] == 8 and made["a", "against"]["time_ratio"] == 4
    assert made["a", "against"]["difference"] == pytest.approx(0.2) and made["keskar", "against"]["difference"] == 0
    whole = made["all measures", "ours"]
    assert whole["passes"] == 8 and made["all but searches", "ours"]["passes"] == 4
    assert whole | {"seconds": 24.0, "passes": 48.0, "case": "6 stops"} == made["6 stops", "ours"]
    assert measuring.table(list(made.values())).count("a ") >= 2


def test_measuring_beside_a_folder_without_the_study_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="holds no study/measures; allowed: a checkout"):
        measuring.Code(tmp_path, "digits_mlp", tmp_path / "network.pt")
