"""The population loop against torch's own optimizers and a plain loop, and its promises about bits."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional

from study.choice import Choice
from study.config import FIRST, RunConfig, config_from_dict, run_key
from study.data.dataset import load
from study.loss import sample_losses
from study.run import run_shard
from study.seams.objective import plain
from study.seams.optimizer import OPTIMIZERS
from study.seeds import generator_for
from study.storage.atomic import read_tensors, write_tensors
from study.storage.paths import RunPaths
from study.training.forward import StackedForward
from study.training.saved import forget
from study.training.saved import load as load_saved
from study.training.stack import execution_mode, stack_tensors
from study.training.start import build_model, training_labels

BASE = RunConfig(hidden=(12, 8), lr=0.05, momentum=0.9, batch_size=50, stops=("epoch_3",), max_epochs=3)


def final_weights(root: Path, config: RunConfig, stop: str | None = None) -> dict[str, torch.Tensor]:
    tensors = read_tensors(RunPaths(root, run_key(config)).stop(stop or config.stops[-1]).weights)
    assert isinstance(tensors, dict)
    return tensors


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def plain_training(config: RunConfig) -> dict[str, torch.Tensor]:
    """The slow, obvious twin: one network, torch.optim, a Python loop."""
    data, model = load(config.dataset, config.n_train), build_model(config)
    labels = training_labels(config, data.train_y)
    kinds = {
        "sgd": lambda p: torch.optim.SGD(p, config.lr, config.momentum, weight_decay=config.weight_decay),
        "adam": lambda p: torch.optim.Adam(p, config.lr, weight_decay=config.weight_decay),
    }
    optimizer = kinds[config.optimizer.name](model.parameters())
    for epoch in range(config.max_epochs):
        order = torch.randperm(len(labels), generator=generator_for(config.seed, "order", epoch))
        for batch in order.split(config.batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(model(data.train_x[batch]), labels[batch]).backward()
            optimizer.step()
    return {name: p.detach() for name, p in model.named_parameters()}


@pytest.mark.parametrize(
    "change",
    [{}, {"momentum": 0.0}, {"weight_decay": 0.01}, {"optimizer": Choice("adam"), "momentum": 0.0, "lr": 0.003},
     {"optimizer": Choice("adam"), "momentum": 0.0, "lr": 0.003, "weight_decay": 0.1}, {"label_noise": 0.2},
     {"batch_size": 70}],
)  # fmt: skip
def test_equals_torch_optim(change: dict[str, Any], tmp_path: Path) -> None:
    config = replace(BASE, **change)
    companion = replace(config, seed=5, lr=config.lr / 2, init="xavier_normal")
    run_shard([companion, config], [], runs_root=tmp_path)
    for run in (config, companion):
        found, twin = final_weights(tmp_path, run), plain_training(run)
        for name, tensor in twin.items():
            torch.testing.assert_close(found[name], tensor, rtol=2e-4, atol=2e-5)


def test_update_rules_in_float64() -> None:
    torch.manual_seed(0)
    start, grads = torch.randn(3, 4, 2, dtype=torch.float64), torch.randn(6, 3, 4, 2, dtype=torch.float64)
    hp = {"lr": [0.1, 0.01, 0.3], "momentum": [0.0, 0.9, 0.5], "weight_decay": [0.0, 0.1, 0.01]}
    for kind in ("sgd", "adam"):
        stack, optimizer = {"w": start.clone()}, OPTIMIZERS[kind]
        state = optimizer.start(stack)
        options = {"beta1": [0.9] * 3, "beta2": [0.999] * 3, "eps": [1e-8] * 3} if kind == "adam" else {}
        vectors = {k: torch.tensor(v, dtype=torch.float64) for k, v in {**hp, **options}.items()}
        for g in grads:
            optimizer.move(stack, {"w": g}, state, vectors)
        for i in range(3):
            w = start[i].clone().requires_grad_()
            own = {"lr": hp["lr"][i], "weight_decay": hp["weight_decay"][i]}
            twin = (
                torch.optim.SGD([w], momentum=hp["momentum"][i], **own)
                if kind == "sgd"
                else torch.optim.Adam([w], **own)
            )
            for g in grads:
                w.grad = g[i].clone()
                twin.step()
            torch.testing.assert_close(stack["w"][i], w.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("model", ["mlp", "lenet5"])
def test_stacked_and_sequential_gradients_agree(model: str) -> None:
    config = RunConfig(dataset="fashion_mnist", model=Choice(model), hidden=(9,))
    networks = [build_model(replace(config, seed=s)) for s in range(3)]
    parameters = stack_tensors([{name: p.detach() for name, p in n.named_parameters()} for n in networks], "cpu")
    torch.manual_seed(1)
    x, y = torch.randn(3, 5, 1, 28, 28), torch.randint(10, (3, 5))

    def gradients(
        mode: str, weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        template = build_model(config)
        forward = StackedForward(template, "cross_entropy", mode, x[0, 0])
        return forward.gradients(weights, {}, {}, x, y, lambda evaluation: plain(evaluation, {}))

    stacked = gradients("stacked", parameters, x, y)
    for i, network in enumerate(networks):
        functional.cross_entropy(network(x[i]), y[i]).backward()
        for name, p in network.named_parameters():
            torch.testing.assert_close(stacked[name][i], p.grad, rtol=1e-4, atol=1e-6)
        one = {name: tensor[i : i + 1] for name, tensor in parameters.items()}
        alone = gradients("sequential", one, x[i : i + 1], y[i : i + 1])
        for name, tensor in alone.items():
            torch.testing.assert_close(tensor[0], stacked[name][i], rtol=1e-4, atol=1e-6)


def test_mode_is_chosen_by_model_and_device() -> None:
    assert execution_mode(RunConfig(), "cpu") == "stacked"
    assert execution_mode(RunConfig(dataset="mnist", model=Choice("lenet5")), "cpu") == "sequential"
    assert execution_mode(RunConfig(dataset="mnist", model=Choice("lenet5")), "cuda") == "stacked"


def test_bits_do_not_depend_on_companions(tmp_path: Path) -> None:
    """Alone, among two or among seven that retire at different times: the same bits."""
    runs = [replace(BASE, seed=s, stops=("loss_0.9",), max_epochs=12, lr=0.02 + 0.02 * s) for s in range(7)]
    for name, group in (("all", runs), ("two", runs[2:4]), ("one", runs[3:4])):
        run_shard(group, [], runs_root=tmp_path / name)
    first = RunPaths(tmp_path / "all", run_key(runs[3]))
    assert (
        len({json.loads(RunPaths(tmp_path / "all", run_key(r)).outcome.read_text())["end"]["epoch"] for r in runs}) > 1
    )
    for name in ("two", "one"):
        other = RunPaths(tmp_path / name, run_key(runs[3]))
        assert equal(final_weights(tmp_path / "all", runs[3]), final_weights(tmp_path / name, runs[3]))
        assert first.epochs.read_bytes() == other.epochs.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {
            "hidden": (7, 9),
            "batch_size": 41,
            "n_train": 290,
        },  # no matrix of which fills 16 bytes, nor does the last batch
        {"hidden": (1, 3), "batch_size": 50, "momentum": 0.0},
        {"hidden": (9,), "batch_size": 20, "n_train": 170, "target": "binary", "loss": "binary_cross_entropy"},
        {"hidden": (9, 5), "batch_size": 99, "model": {"mlp": {"activation": "silu"}}, "update": "sam"},
    ],
)
def test_bits_do_not_depend_on_companions_where_matrices_lie_crooked(change: dict[str, Any], tmp_path: Path) -> None:
    """Of sizes whose slices of a stack begin at no even address, and of one output, whose matrices are vectors."""
    values = {"lr": 0.05, "momentum": 0.9, "max_epochs": 3, "stops": ["epoch_3"], **change}
    runs = [config_from_dict({**values, "seed": seed, "lr": 0.02 * (1 + seed)}) for seed in range(4)]
    run_shard(runs, [], runs_root=tmp_path / "all")
    for run in runs:
        run_shard([run], [], runs_root=tmp_path / "one")
        assert equal(final_weights(tmp_path / "all", run), final_weights(tmp_path / "one", run))
        a, b = (RunPaths(tmp_path / name, run_key(run)).epochs.read_bytes() for name in ("all", "one"))
        assert a == b


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error", "binary_cross_entropy"])
def test_a_loss_has_the_same_bits_wherever_a_sample_stands(loss: str) -> None:
    n_outputs = 1 if loss == "binary_cross_entropy" else 2
    logits = 3 * torch.randn(500, n_outputs, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(500) % 2

    def found(some: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        some = some.clone().requires_grad_()
        losses = sample_losses(some, y, loss)
        return torch.cat([losses.detach().unsqueeze(1), torch.autograd.grad(losses.sum(), some)[0]], 1)

    alone = [found(a, b) for a, b in zip(logits.split(1), labels.split(1), strict=True)]
    assert torch.equal(torch.cat(alone), found(logits, labels))


class Killed(Exception):
    """Stands for a SIGKILL: nothing after it runs."""


@pytest.mark.parametrize("n_writes", [0, 1, 3, 5, 8, 9, 10, 12, 15])
def test_resume_is_bit_identical(n_writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before its n-th write, with a state saved every epoch, then run again: the same files as undisturbed."""
    monkeypatch.setattr("study.run.SAVE_EVERY_SECONDS", 0.0)
    runs = [replace(BASE, seed=s, stops=("epoch_1", "loss_1.2"), max_epochs=4, checks_per_epoch=3) for s in range(2)]
    run_shard(runs, ["train_loss"], runs_root=tmp_path / "whole")
    left = n_writes

    def guard() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    with pytest.raises(Killed):
        run_shard(runs, ["train_loss"], runs_root=tmp_path / "cut", guard=guard)
    run_shard(runs, ["train_loss"], runs_root=tmp_path / "cut")
    for run in runs:
        whole, cut = (RunPaths(tmp_path / part, run_key(run)) for part in ("whole", "cut"))
        assert whole.epochs.read_bytes() == cut.epochs.read_bytes()
        for stop in run.stops:
            assert equal(final_weights(tmp_path / "whole", run, stop), final_weights(tmp_path / "cut", run, stop))
        a, b = (json.loads(p.outcome.read_text()) for p in (whole, cut))
        assert {**a, "seconds": 0} == {**b, "seconds": 0}
        assert sorted(p.name for p in whole.folder.rglob("*")) == sorted(p.name for p in cut.folder.rglob("*"))


def test_asked_to_stop_it_saves_and_goes_on(tmp_path: Path) -> None:
    config = replace(BASE, max_epochs=6, stops=("epoch_6",))
    run_shard([config], [], runs_root=tmp_path / "whole")
    calls = iter([False, True])
    report = run_shard([config], [], runs_root=tmp_path / "cut", should_stop=lambda: next(calls, True))
    paths = RunPaths(tmp_path / "cut", run_key(config))
    assert report.interrupted
    assert load_saved([paths], print)[paths.key].progress["epoch"] == 2
    assert not paths.outcome.exists()
    report = run_shard([config], [], runs_root=tmp_path / "cut")
    assert report.trained == [run_key(config)]
    assert not list((tmp_path / "cut").rglob("population*")) and not list((tmp_path / "cut").glob(".pop*/*/*"))
    assert equal(final_weights(tmp_path / "whole", config), final_weights(tmp_path / "cut", config))


def test_a_run_names_all_that_trained_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left by uncommitted code on one processor, ended by committed code on another: neither hides the other."""
    config = replace(BASE, max_epochs=3, stops=("epoch_3",))
    for commit, device, stop in (("aaaaaaaaaaaa-dirty", "one", True), ("bbbbbbbbbbbb", "two", False)):
        monkeypatch.setenv("STUDY_COMMIT", commit)
        monkeypatch.setattr("study.provenance.device_name", lambda of, device=device: device)
        run_shard([config], [], runs_root=tmp_path, should_stop=lambda stop=stop: stop)
    paths = RunPaths(tmp_path, run_key(config))
    by = json.loads(paths.outcome.read_text())["provenance"]
    assert (by["commit"], by["device"]) == ("aaaaaaaaaaaa-dirty+bbbbbbbbbbbb", "one+two")
    assert by["torch"] == torch.__version__ and "+" not in by["mode"]
    assert json.loads(paths.stop("epoch_3").evaluation.read_text())["commit"] == "bbbbbbbbbbbb"


def test_divergence_ends_one_run_alone(tmp_path: Path) -> None:
    wild, tame = replace(BASE, lr=1e30, momentum=0.0), BASE
    run_shard([wild, tame], ["train_loss"], runs_root=tmp_path / "both")
    run_shard([tame], ["train_loss"], runs_root=tmp_path / "alone")
    ends = [json.loads(RunPaths(tmp_path / "both", run_key(c)).outcome.read_text()) for c in (wild, tame)]
    assert [e["status"] for e in ends] == ["diverged", "finished"]
    assert ends[0]["end"]["train_loss"] is None
    assert equal(final_weights(tmp_path / "both", tame), final_weights(tmp_path / "alone", tame))


def test_stops_are_met_where_they_say(tmp_path: Path) -> None:
    """The recorded loss is the full training loss of the saved weights, at or under the stop; a missed stop says so."""
    config = replace(BASE, stops=("loss_1", "loss_0.3", "epoch_2", "loss_1e-9"), max_epochs=30, checks_per_epoch=3)
    run_shard([config], [], runs_root=tmp_path)
    paths, data = RunPaths(tmp_path, run_key(config)), load("digits")
    outcome = json.loads(paths.outcome.read_text())
    assert outcome["status"] == "not_converged"
    assert outcome["reached"].keys() == {"loss_1", "loss_0.3", "epoch_2"}
    assert outcome["reached"]["epoch_2"]["epoch"] == 2
    for stop, at in outcome["reached"].items():
        logits = functional_call(build_model(config), final_weights(tmp_path, config, stop), (data.train_x,))
        loss = functional.cross_entropy(logits, data.train_y).item()
        assert math.isclose(loss, at["train_loss"], rel_tol=1e-5)
        if stop.startswith("loss_"):
            assert at["train_loss"] <= float(stop[5:])
    assert any(at["step"] % 6 for at in outcome["reached"].values()), "no stop was met between epoch ends"
    rows = [json.loads(line) for line in paths.epochs.read_text().splitlines()]
    assert [r["epoch"] for r in rows] == list(range(1, 31))


def test_another_config_in_the_folder_is_refused(tmp_path: Path) -> None:
    run_shard([BASE], [], runs_root=tmp_path)
    path = RunPaths(tmp_path, run_key(BASE)).config
    path.write_text(path.read_text().replace('"lr": 0.05', '"lr": 0.06'))
    with pytest.raises(ValueError, match=r"lr: 0\.06: differs from the study's 0\.05"):
        run_shard([BASE], [], runs_root=tmp_path)


def test_a_folder_of_before_the_seams_goes_on(tmp_path: Path) -> None:
    """Its config.json and its checkpoint know nothing of seams, buffers and masks: all are at their defaults."""
    config = replace(BASE, max_epochs=4, stops=("epoch_4",))
    run_shard([config], [], runs_root=tmp_path / "whole")
    run_shard([config], [], runs_root=tmp_path / "old", should_stop=lambda: True)
    paths = RunPaths(tmp_path / "old", run_key(config))
    stored = json.loads(paths.config.read_text())
    paths.config.write_text(json.dumps({name: v for name, v in stored.items() if name in FIRST}))
    saved = load_saved([paths], print)[paths.key]
    forget([paths])
    progress = {name: value for name, value in saved.progress.items() if name != "hidden"}
    groups = {name: getattr(saved.state, name) for name in ("parameters", "optimizer")}
    write_tensors(paths.old_state, {**progress, **groups})
    assert run_shard([config], [], runs_root=tmp_path / "old").trained == [run_key(config)]
    assert not paths.old_state.exists()
    assert equal(final_weights(tmp_path / "whole", config), final_weights(tmp_path / "old", config))


@pytest.mark.gpu
def test_gpu_agrees_with_cpu_and_resumes_to_the_same_bits(tmp_path: Path) -> None:
    mixture = replace(BASE, dataset=Choice("gaussian_mixture"), n_train=300)  # needs no scikit-learn
    runs = [replace(mixture, seed=s, max_epochs=4, stops=("epoch_4",)) for s in range(3)]
    for name, device in (("cpu", "cpu"), ("gpu", "cuda"), ("cut", "cuda")):
        calls = iter([False, True])
        stop = (lambda calls=calls: next(calls, True)) if name == "cut" else (lambda: False)
        run_shard(runs, [], runs_root=tmp_path / name, device=device, should_stop=stop)
    run_shard(runs, [], runs_root=tmp_path / "cut", device="cuda")
    for run in runs:
        assert equal(final_weights(tmp_path / "gpu", run), final_weights(tmp_path / "cut", run))
        for name, tensor in final_weights(tmp_path / "cpu", run).items():
            torch.testing.assert_close(final_weights(tmp_path / "gpu", run)[name], tensor, rtol=1e-3, atol=1e-4)
