"""The field `precision`: what a step multiplies in, alone and in a stack; evaluation in full; devices that cannot."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from study.__main__ import main
from study.choice import Choice, ConfigError
from study.config import RunConfig, config_from_dict, run_key
from study.data.dataset import Tensors, known
from study.grid import load_study, shards
from study.hyperparameter import hyperparameters
from study.loss import mean_loss_and_error
from study.run import run_shard
from study.seams.precision import check_precision
from study.seeds import generator_for
from study.storage.atomic import read_tensors
from study.storage.paths import RunPaths
from study.training.forward import StackedForward
from study.training.population import Population
from study.training.start import build_model

MLP = RunConfig(
    hidden=(9, 8), lr=0.2, momentum=0.5, batch_size=10, max_epochs=4, stops=("epoch_4",), precision=Choice("bf16")
)
IMAGES = replace(
    MLP,
    max_epochs=2,
    stops=("epoch_2",),
    dataset=Choice("digits_images"),
    model=Choice("nin", (("depth", 2), ("width", 8))),
)


def tensors(config: RunConfig) -> Tensors:
    generator, shape = torch.Generator().manual_seed(1), known(config.dataset).shape
    x, y = torch.rand(45, *shape, generator=generator), torch.randint(10, (45,), generator=generator)
    return Tensors(x, y, x, y)


def trained(configs: Sequence[RunConfig], mode: str, folder: Path) -> list[dict[str, Tensor]]:
    paths = [RunPaths(folder, run_key(config)) for config in configs]
    population = Population(configs, paths, tensors(configs[0]), "cpu", mode, lambda: None)
    assert population.train(should_stop=lambda: False, on_epoch=lambda runs: None, save_every_seconds=1e9)
    return [read_tensors(p.stop(c.stops[-1]).weights) for p, c in zip(paths, configs, strict=True)]


class Apart(nn.Module):
    """A linear layer whose bias is added beside the product, in float32, as a stack has it."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight) + self.bias


def by_autocast(config: RunConfig, apart: bool = False) -> dict[str, Tensor]:
    """The network by a plain loop, as a user of torch.autocast would write it."""
    data, model = tensors(config), build_model(config)
    if apart:
        for name, module in list(model.named_children()):
            if isinstance(module, nn.Linear):
                setattr(model, name, Apart(module))
    optimizer = torch.optim.SGD(model.parameters(), config.lr, config.momentum)
    for epoch in range(config.max_epochs):
        order = torch.randperm(len(data.train_y), generator=generator_for(config.seed, "order", epoch))
        for batch in order.split(config.batch_size):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = functional.cross_entropy(model(data.train_x[batch]).float(), data.train_y[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model.state_dict()


def distance(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Of all weights, relative to their norm."""
    flat = [torch.cat([t[name].flatten() for name in a]) for t in (a, b)]
    return float((flat[0] - flat[1]).norm() / flat[1].norm())


@pytest.mark.parametrize(
    ("base", "mode"), [(IMAGES, "sequential"), (MLP, "sequential"), (MLP, "stacked")], ids=["images", "alone", "stack"]
)
def test_bf16_is_the_plain_loop_with_autocast(base: RunConfig, mode: str, tmp_path: Path) -> None:
    full = replace(base, precision=Choice("float32"))
    (found,), (exact,) = trained([base], mode, tmp_path), trained([full], mode, tmp_path)
    expected = by_autocast(base, apart=mode == "stacked")
    assert all(t.dtype == torch.float32 for t in found.values() if t.is_floating_point())
    assert distance(found, expected) < 0.1 * distance(found, exact), "not as torch.autocast has it"
    assert distance(found, exact) > 1e-4, "nothing was rounded"


@pytest.mark.parametrize("hidden", [(9, 8), (8, 16), (3, 1)])
def test_bf16_gives_the_same_bits_alone_and_in_a_stack(hidden: tuple[int, ...], tmp_path: Path) -> None:
    runs = [replace(MLP, hidden=hidden, seed=seed, lr=0.1 * (1 + seed)) for seed in range(3)]
    for one, run in zip(trained(runs, "stacked", tmp_path / "all"), runs, strict=True):
        (alone,) = trained([run], "stacked", tmp_path / "one")
        assert all(torch.equal(tensor, alone[name]) for name, tensor in one.items())


def test_what_is_recorded_is_evaluated_in_full(tmp_path: Path) -> None:
    (weights,) = trained([MLP], "stacked", tmp_path)
    model, data = build_model(MLP), tensors(MLP)
    model.load_state_dict(weights)
    loss, _ = mean_loss_and_error(model, data.train_x, data.train_y, "cross_entropy")
    outcome = json.loads(RunPaths(tmp_path, run_key(MLP)).outcome.read_text())
    assert outcome["end"]["train_loss"] == pytest.approx(loss.item(), rel=1e-6)


def test_a_step_alone_may_take_tf32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags: dict[str, set[tuple[bool, bool]]] = {"gradients": set(), "evaluate": set()}

    def noting(name: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any) -> Any:
            flags[name].add((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
            return inner(*args)

        return noted

    for name in flags:
        monkeypatch.setattr(StackedForward, name, noting(name, getattr(StackedForward, name)))
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    trained([replace(MLP, precision=Choice("tf32"))], "stacked", tmp_path)
    assert flags == {"gradients": {(True, True)}, "evaluate": {(False, False)}}
    monkeypatch.undo()
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_a_run_that_is_resumed_ends_with_the_same_bits(tmp_path: Path) -> None:
    runs = [replace(MLP, seed=seed, n_train=50) for seed in range(2)]
    run_shard(runs, ["train_loss"], runs_root=tmp_path / "whole")
    asked = iter([False, True])
    assert run_shard(runs, ["train_loss"], runs_root=tmp_path / "cut", should_stop=lambda: next(asked)).interrupted
    run_shard(runs, ["train_loss"], runs_root=tmp_path / "cut")
    for run in runs:
        whole, cut = (RunPaths(tmp_path / name, run_key(run)).stop("epoch_4").weights for name in ("whole", "cut"))
        assert whole.read_bytes() == cut.read_bytes()


def test_it_is_a_field_of_a_grid_and_never_mixed_in_a_stack(tmp_path: Path) -> None:
    plain = {"hidden": [4], "max_epochs": 1, "stops": ["epoch_1"]}
    assert run_key(config_from_dict({**plain, "precision": "float32"})) == run_key(config_from_dict(plain))
    text = f"title: t\nmeasures: [train_loss]\nseeds: 2\nfixed: {json.dumps(plain)}\n"
    (tmp_path / "mixed.yaml").write_text(text + "grid: {precision: [float32, bf16]}\n")
    study = load_study(tmp_path / "mixed.yaml")
    assert {hyperparameters(run).get("precision") for run in study.runs} == {None, "bf16"}, (
        "a column where it is changed"
    )
    assert [[str(run.precision) for run in shard.runs] for shard in shards(study)] == [["float32"] * 2, ["bf16"] * 2]


def test_what_the_device_has_not_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.yaml"
    rounded = {"hidden": [4], "max_epochs": 1, "stops": ["epoch_1"], "precision": "tf32"}
    line = "error: precision: 'tf32': allowed on device cpu: float32, bf16"
    path.write_text(f"title: t\nmeasures: [train_loss]\nseeds: 1\nfixed: {json.dumps(rounded)}\n")
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    for command in ("plan", "run"):
        assert main([command, str(path), *folders]) == 2
        assert capsys.readouterr().err.splitlines() == [line]
        assert main([command, str(path), *folders, "--device", "tpu"]) == 2
        (refused,) = capsys.readouterr().err.splitlines()
        assert refused.startswith("error: device: 'tpu': allowed: cpu, cuda")
    with pytest.raises(ConfigError, match="allowed on device cpu: float32, bf16"):
        run_shard([config_from_dict(rounded)], [], runs_root=tmp_path / "runs")
    assert not list((tmp_path / "runs").rglob("*.json"))
    path.write_text(path.read_text().replace("tf32", "fp8"))
    assert main(["plan", str(path), *folders]) == 2
    assert capsys.readouterr().err == f"error: {path}: precision: 'fp8': allowed: bf16, float32, tf32\n"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(ConfigError, match=r"'tf32': allowed on device cuda of compute capability 7\.5: float32"):
        check_precision(Choice("tf32"), "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    check_precision(Choice("tf32"), "cuda")
