"""Every entry of every seam: a network in a stack is the network trained alone, and that of a plain loop.

The loops, as a user of torch would write them, are in tests/reference/training.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from study.choice import Choice, Registry, number
from study.config import SEAMS, RunConfig, config_from_dict, run_key
from study.data.dataset import DATASETS, Tensors, known
from study.data.extra import EXTRAS
from study.data.subset import SUBSETS
from study.data.target import groups, relabelled
from study.loss import LOSSES
from study.models.init import INITS
from study.models.registry import MODELS
from study.seeds import generator_for
from study.storage.atomic import read_tensors
from study.storage.paths import RunPaths
from study.training.population import Population
from study.training.saved import load
from study.training.start import build_model, training_labels
from tests.reference import training as twins
from tests.support.entries import ENTRIES, all_registered, registered

REGISTRIES: dict[str, Registry[Any]] = {
    **SEAMS, "dataset": DATASETS, "init": INITS, "loss": LOSSES,
}  # fmt: skip
BASE = {"hidden": (8, 8), "lr": 0.05, "momentum": 0.5, "batch_size": 7, "max_epochs": 3, "stops": ("epoch_3",)}


def _base(changes: Mapping[str, Any]) -> dict[str, Any]:
    """BASE, without the widths where these changes name a model that does not read them."""
    model = changes.get("model", "mlp")
    chosen = MODELS[model if isinstance(model, str) else next(iter(model))]
    return {name: value for name, value in BASE.items() if name != "hidden" or chosen.reads_hidden}


@dataclass
class Case:
    """A config's difference from BASE that shows the entry, and the loop that it must equal; None: alone is enough."""

    changes: dict[str, Any] = field(default_factory=dict)
    twin: twins.Twin | None = twins.plain


IMAGES, SMALL = {"dataset": "mnist"}, {"dataset": "digits_images"}
NORMED = {**IMAGES, "model": "batch_norm"}
ADAPTIVE = {"momentum": 0.0, "weight_decay": 0.1}
BETAS = {"beta1": 0.5, "beta2": 0.6, "eps": 1e-2}  # a small eps would make rounding errors of dead weights a step
RMSPROP = {"weight_decay": 0.1, "optimizer": {"rmsprop": {"alpha": 0.5, "eps": 1e-2}}}
SAM = {"update": {"sam": {"rho": 0.1}}}
WALK = {"steps": 3, "gamma": 0.3, "scoping": 0.2, "noise": 0.01, "averaging": 0.5}
SMOOTH = {"objective": {"label_smoothing": {"smoothing": 0.2}}}
CUT = {"crop": 3, "flip": 0.5, "cutout": 9}


def scheduled(**schedule: dict[str, Any]) -> Case:
    return Case({"schedule": schedule}, twins.scheduled)


# What follows a slash is a variant of an entry.
CASES: dict[str, dict[str, Case]] = {
    "objective": {
        "plain": Case(),
        "label_smoothing": Case(SMOOTH, twins.smoothed),
        "label_smoothing/binary": Case({**SMOOTH, "loss": "binary_cross_entropy", "target": "binary"}, twins.smoothed),
        "label_smoothing/squared_error": Case({**SMOOTH, "loss": "squared_error", "lr": 0.01}, twins.smoothed),
        "norm_penalty": Case({"objective": {"norm_penalty": {"strength": 0.1}}}, twins.decayed),
        "gradient_penalty": Case({"objective": {"gradient_penalty": {"strength": 0.3}}}, twins.gradient_penalized),
    },
    "update": {
        "plain": Case({"weight_decay": 0.1}),
        "sam": Case({**SAM, "weight_decay": 0.1}, twins.sharpness_aware),
        "sam/rmsprop": Case({**SAM, **RMSPROP, "lr": 0.01}, twins.sharpness_aware),
        "sam/norm": Case({**SAM, **NORMED}, twins.sharpness_aware),
        "asam": Case({"update": {"asam": {"rho": 0.3, "eta": 0.2}}}, twins.sharpness_aware),
        "entropy_sgd": Case({"update": {"entropy_sgd": WALK}, "lr": 0.7}, twins.entropy_sgd),
        "averaged": Case({"update": "averaged"}),
    },
    "schedule": {
        "constant": Case(),
        "constant/warmup": scheduled(constant={"warmup": 2.0}),
        "step": scheduled(step={"every": 3, "factor": 0.5}),
        "step/warmup": scheduled(step={"every": 2, "factor": 0.5, "warmup": 4.0}),
        "step/rho": Case({**SAM, "schedule": {"step": {"of": "rho", "every": 1}}}, twins.sharpness_aware),
        "drops": scheduled(drops={"at": "1-4", "factor": 0.5, "warmup": 2.0}),
        "cosine": scheduled(cosine={"floor": 0.1}),
        "cosine/warmup": scheduled(cosine={"floor": 0.1, "warmup": 2.0}),
    },
    "batch": {
        "plain": Case(),
        "augment": Case({**IMAGES, "batch": {"augment": CUT}}, twins.augmented),
        "adversarial": Case({"batch": {"adversarial": {"radius": 0.2}}}, None),
    },
    "mask": {"dense": Case(), "random": Case({"mask": {"random": {"sparsity": 0.3}}}, None)},
    "growth": {"none": Case(), "doubled": Case({"growth": {"doubled": {"epoch": 1}}}, None)},
    "extra": {"none": Case(), "flipped": Case({"extra": {"flipped": {"n": 5}}})},
    "dataset": {
        name: Case({"dataset": name})
        for name in (
            "digits",
            "digits_images",
            "mnist",
            "fashion_mnist",
            "kmnist",
            "emnist_balanced",
            "cifar10",
            "cifar100",
            "svhn",
            "gaussian_mixture",
            "teacher",
        )
    },
    "model": {
        "mlp": Case({**SMALL, "model": {"mlp": {"activation": "gelu"}}}),
        "lenet5": Case({**IMAGES, "model": "lenet5"}),
        "nin": Case({**SMALL, "model": {"nin": {"depth": 2, "width": 4}}}),
        "vgg": Case({**SMALL, "model": {"vgg": {"depth": 2, "width": 3}}}),
        "resnet": Case({**SMALL, "model": {"resnet": {"depth": 8, "width": 2}}}),
        # Batch-norm of one pixel of seven images would make rounding grow by 1e10 in its 18 layers.
        "resnet18": Case({**SMALL, "model": {"resnet18": {"width": 2}}, "batch_size": 16, "max_epochs": 25}),
        "vit": Case({**SMALL, "model": {"vit": {"depth": 1, "heads": 2, "width": 8}}}),
        "batch_norm": Case(NORMED),
        "norm_dropout": Case({"model": "norm_dropout"}, None),
    },
    "init": {name: Case({"init": name, "init_gain": 1.5}) for name in INITS},
    "loss": {
        "cross_entropy": Case(),
        "squared_error": Case({"loss": "squared_error"}),
        "binary_cross_entropy": Case({"loss": "binary_cross_entropy", "target": "binary"}),
    },
    "subset": {"first": Case(), "balanced": Case({"subset": {"balanced": {"seed": 1}}, "n_train": 23})},
    "target": {"classes": Case(), "binary": Case({"target": {"binary": {"positive": "1-4-7"}}})},
    "labels": {"given": Case(), "uniform": Case({"labels": {"uniform": {"fraction": 0.4}}})},
    "precision": {name: Case({"precision": name}) for name in ("float32", "tf32", "bf16")},  # nothing in float64
    "optimizer": {
        "sgd": Case({"weight_decay": 0.1, "lr_factor": 0.7}),
        "sgd/decoupled": Case({"weight_decay": 0.1, "optimizer": {"sgd": {"decay": "decoupled"}}}, twins.decayed_apart),
        "nesterov": Case({"optimizer": "nesterov", "weight_decay": 0.1}),
        "adam": Case({**ADAPTIVE, "optimizer": {"adam": BETAS}}),
        "adamw": Case({**ADAPTIVE, "optimizer": {"adamw": BETAS}}),
        "rmsprop": Case(RMSPROP),
    },
}
LONG = ("model", "optimizer", "objective", "update", "schedule", "batch")  # these move weights: 50 steps
OURS = {**ENTRIES, "model": {"batch_norm": (), "norm_dropout": ()}}


@pytest.fixture(autouse=True)
def in_float64() -> Iterator[None]:
    """Weights and coefficients in float64, so that equal means equal; the tests' own entries in their registries."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    with all_registered():
        yield
    torch.set_default_dtype(before)


def test_every_entry_has_a_case() -> None:
    """To add an entry, add its case: how it shows, and the plain loop that it must equal."""
    for name, registry in REGISTRIES.items():
        cases = {case.partition("/")[0] for case in CASES[name]}
        assert cases == set(registry), f"{name}: CASES has not the entries of its registry"


def tensors(config: RunConfig) -> Tensors:
    """Random inputs of the data set's shape, and what the config adds to them."""
    generator, shape = torch.Generator().manual_seed(1), known(config.dataset).shape
    x, y = torch.rand(31, *shape, generator=generator), torch.randint(10, (31,), generator=generator)
    order = SUBSETS[config.subset.name](y, SUBSETS.options(config.subset))[: config.n_train or 31]
    x, y = x[order], relabelled(y[order], groups(config.target, 10))
    return EXTRAS[config.extra.name](Tensors(x, y, x, y), lambda k: (x[:k], y[:k]), EXTRAS.options(config.extra))


def trained(configs: Sequence[RunConfig], mode: str, folder: Path) -> list[dict[str, Tensor]]:
    """The weights and buffers of networks trained as one stack."""
    paths = [RunPaths(folder, run_key(config)) for config in configs]
    population = Population(configs, paths, tensors(configs[0]), "cpu", mode, lambda: None)
    assert population.train(should_stop=lambda: False, on_epoch=lambda runs: None, save_every_seconds=1e9)
    return [read_tensors(p.stop(c.stops[-1]).weights) for p, c in zip(paths, configs, strict=True)]


def by_twin(config: RunConfig, twin: twins.Twin) -> dict[str, Tensor]:
    """The same network by the plain loop on the same batches."""
    data, model = tensors(config), build_model(config)
    labels = training_labels(config, data.train_y)
    batches = []
    for epoch in range(config.max_epochs):
        order = torch.randperm(len(labels), generator=generator_for(config.seed, "order", epoch))
        steps = order.split(config.batch_size)
        batches += [(data.train_x[b], labels[b], epoch) for b in steps]
    twin(config, model, batches)
    return model.state_dict()


def assert_equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-8, atol=1e-10)


def moved(value: Any, factor: float) -> Any:
    """A choice with its numbers multiplied: the same shape, other coefficients."""
    if isinstance(value, dict):
        return {k: moved(v, factor) for k, v in value.items()}
    return value * factor if isinstance(value, float) else value


def networks(seam: str, case: Case, factors: Sequence[float] = (1.0, 0.5, 1.5)) -> list[RunConfig]:
    """With other seeds, rates and options, over 50 steps or 15."""
    n = case.changes.get("max_epochs", 10 if seam in LONG else 3)
    changes = [{k: moved(v, f) if k in SEAMS else v for k, v in case.changes.items()} for f in factors]
    return [
        config_from_dict({**_base(c), **c, "max_epochs": n, "stops": [f"epoch_{n}"], "seed": seed,
                          "lr": c.get("lr", BASE["lr"]) * f})
        for seed, (f, c) in enumerate(zip(factors, changes, strict=True), start=3)
    ]  # fmt: skip


@pytest.mark.parametrize(("seam", "name"), [(seam, name) for seam, cases in CASES.items() for name in cases])
def test_in_a_stack_as_alone_as_by_hand(seam: str, name: str, tmp_path: Path) -> None:
    """Three networks in one stack, beside one that ends early; one again alone, with vmap, and one without; by hand."""
    case = CASES[seam][name]
    configs = networks(seam, case)
    early = replace(configs[0], seed=9, stops=("epoch_1",))
    together = trained([early, *configs], "stacked", tmp_path / "all")[1:]
    for i, mode in ((0, "stacked"), (2, "sequential")):
        (alone,) = trained([configs[i]], mode, tmp_path / mode)
        assert_equal(together[i], alone)
        if mode == "stacked" and seam in LONG and "model" not in case.changes:  # norm layers round by their neighbours
            assert all(torch.equal(together[i][name], alone[name]) for name in alone)
    for config, found in zip(configs, together, strict=True):
        if case.twin:
            assert_equal(found, by_twin(config, case.twin))
    assert any(not torch.equal(together[0][n], together[1][n]) for n in together[0])


@pytest.mark.parametrize(
    ("seam", "name"),
    [(s, n) for s in LONG for n in CASES[s] if n not in ENTRIES.get(s, {}) and CASES[s][n].changes],
)
def test_a_cut_training_ends_at_the_same_bits(seam: str, name: str, tmp_path: Path) -> None:
    """Left after an epoch and taken up again, in another order: generators, schedules and buffers go on."""
    configs = [replace(c, stops=("epoch_3",)) for c in networks(seam, CASES[seam][name], (1.0, 0.5))]
    whole = trained(configs, "stacked", tmp_path / "whole")
    paths = [RunPaths(tmp_path / "cut", run_key(config)) for config in configs]
    population = Population(configs, paths, tensors(configs[0]), "cpu", "stacked", lambda: None)
    assert not population.train(should_stop=lambda: True, on_epoch=lambda runs: None, save_every_seconds=1e9)
    cut = trained(configs[::-1], "stacked", tmp_path / "cut")[::-1]
    for a, b in zip(whole, cut, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("seam", "name"), [(seam, name) for seam, cases in OURS.items() for name in cases if name != "averaged"]
)
def test_an_entry_of_ours_changes_what_is_trained(seam: str, name: str, tmp_path: Path) -> None:
    """Without this the test above would pass for an entry that the loop never calls."""
    case = CASES[seam][name]
    with_entry = config_from_dict({**_base(case.changes), **case.changes})
    default = "mlp" if seam == "model" else next(iter(REGISTRIES[seam]))
    without = config_from_dict({**_base(case.changes), **case.changes, seam: default})
    (a,), (b,) = (trained([c], "stacked", tmp_path / str(i)) for i, c in enumerate((with_entry, without)))
    assert a.keys() != b.keys() or any(not torch.allclose(a[n], b[n]) for n in a)


def test_what_an_update_keeps_is_saved_and_stacked(tmp_path: Path) -> None:
    configs = [config_from_dict({**BASE, "update": "averaged", "seed": seed}) for seed in (3, 4)]
    paths = [RunPaths(tmp_path, run_key(config)) for config in configs]
    for epochs in (1, 2):
        population = Population(configs, paths, tensors(configs[0]), "cpu", "stacked", lambda: None)
        population.train(should_stop=lambda: True, on_epoch=lambda runs: None, save_every_seconds=1e9)
        found = load(paths, print)
        kept = [found[p.key].state.optimizer for p in paths]
        assert all(k["seen"]["fc1.bias"].item() == 5 * epochs for k in kept)
        assert kept[0].keys() == {"momentum", "average", "seen"}
    assert not torch.equal(kept[0]["average"]["fc1.weight"], kept[1]["average"]["fc1.weight"])


@pytest.mark.parametrize("update", ["sam", "asam", {"entropy_sgd": WALK}])
def test_masked_weights_stay_dead(update: Any, tmp_path: Path) -> None:
    config = config_from_dict({**BASE, "mask": "random", "update": update, "weight_decay": 0.1})
    (found,) = trained([config], "stacked", tmp_path)
    initial = read_tensors(RunPaths(tmp_path, run_key(config)).init)
    dead = {name: initial[name] == 0 for name in initial if initial[name].ndim == 2}
    assert 0.4 < dead["fc1.weight"].double().mean() < 0.6
    assert all(torch.equal(found[name] == 0, dead[name]) for name in dead)


@pytest.mark.parametrize("densities", [(1.0, 0.1), (0.1, 1.0)])
def test_a_network_whose_weights_all_live_takes_no_mask_from_those_beside_it(
    densities: tuple[float, float], tmp_path: Path
) -> None:
    def sparse(network: nn.Module, data: Any, options: Any, generator: torch.Generator) -> dict[str, Tensor] | None:
        if options["density"] == 1:
            return None
        name = "fc1.weight" if options["density"] < 0.5 else "fc2.weight"
        shape = network.get_parameter(name).shape
        return {name: (torch.rand(shape, generator=generator) < options["density"]).float()}

    with registered(SEAMS["mask"], "sparse", sparse, density=number(1.0)):
        masks = [{"sparse": {"density": density}} for density in (*densities, 0.7)]
        configs = [config_from_dict({**BASE, "mask": m, "seed": seed}) for seed, m in enumerate(masks)]
        together = trained(configs, "stacked", tmp_path)
        for i, config in enumerate(configs):
            (alone,) = trained([config], "stacked", tmp_path / str(i))
            assert_equal(together[i], alone)
            assert any((w == 0).any() for w in together[i].values()) == (configs[i].mask != Choice("sparse"))


def test_growth_keeps_the_function_and_ends_at_the_widths_of_the_config(tmp_path: Path) -> None:
    config = config_from_dict({**BASE, "growth": {"doubled": {"epoch": 3}}, "max_epochs": 4, "stops": ["epoch_4"]})
    paths = RunPaths(tmp_path, run_key(config))
    population = Population([config], [paths], tensors(config), "cpu", "stacked", lambda: None)
    assert population.state.parameters["fc1.weight"].shape == (1, 4, 64)
    calls = iter([False, False, True])
    population.train(should_stop=lambda: next(calls), on_epoch=lambda runs: None, save_every_seconds=1e9)
    again = Population([config], [paths], tensors(config), "cpu", "stacked", lambda: None)
    assert again.state.parameters["fc1.weight"].shape == (1, 8, 64)
    ((loss, _),) = again.epochs.check([0])
    assert loss == pytest.approx(load([paths], print)[paths.key].progress["last_loss"], rel=1e-12)
    again.train(should_stop=lambda: False, on_epoch=lambda runs: None, save_every_seconds=1e9)
    build_model(config).load_state_dict(read_tensors(paths.stop("epoch_4").weights))
