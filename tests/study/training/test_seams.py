"""Every entry of every seam: a network in a stack is the network trained alone, and that of a plain loop."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from study.choice import Choice, Registry, number
from study.config import SEAMS, RunConfig, config_from_dict, run_key
from study.data.dataset import DATASETS, Tensors
from study.data.extra import EXTRAS
from study.loss import LOSSES
from study.models.init import INITS
from study.seams.optimizer import OPTIMIZERS
from study.seeds import generator_for
from study.storage.atomic import read_tensors
from study.storage.paths import RunPaths
from study.training.population import Population
from study.training.start import build_model, training_labels
from tests.support.entries import ENTRIES, all_registered, registered

REGISTRIES: dict[str, Registry[Any]] = {
    **SEAMS, "dataset": DATASETS, "init": INITS, "loss": LOSSES, "optimizer": OPTIMIZERS,
}  # fmt: skip
BASE = {"hidden": (8, 6), "lr": 0.05, "momentum": 0.5, "batch_size": 7, "max_epochs": 3, "stops": ("epoch_3",)}
Batches = Sequence[tuple[Tensor, Tensor, float]]  # inputs, labels and epochs done, step by step
Twin = Callable[[RunConfig, nn.Module, Batches], None]


def torch_optimizer(config: RunConfig, model: nn.Module) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay)
    return {"adam": torch.optim.Adam}[config.optimizer](
        model.parameters(), lr=config.lr, weight_decay=config.weight_decay
    )


def loss_of(config: RunConfig, logits: Tensor, labels: Tensor) -> Tensor:
    if config.loss == "cross_entropy":
        return functional.cross_entropy(logits, labels)
    return functional.mse_loss(logits, functional.one_hot(labels, 10).to(logits), reduction="sum") / len(labels)


def option(config: RunConfig, seam: str, name: str) -> Any:
    return SEAMS[seam].options(getattr(config, seam))[name]


def plain(config: RunConfig, model: nn.Module, batches: Batches) -> None:
    """One network, torch.optim, a Python loop."""
    optimizer = torch_optimizer(config, model.train())
    for x, y, _ in batches:
        optimizer.zero_grad()
        loss_of(config, model(x), y).backward()
        optimizer.step()


def decayed(config: RunConfig, model: nn.Module, batches: Batches) -> None:
    """A squared norm in the objective is weight decay for SGD."""
    plain(replace(config, weight_decay=option(config, "objective", "strength")), model, batches)


def annealed(config: RunConfig, model: nn.Module, batches: Batches) -> None:
    optimizer = torch_optimizer(config, model)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, len(batches), eta_min=config.lr * option(config, "schedule", "floor")
    )
    for x, y, _ in batches:
        optimizer.zero_grad()
        loss_of(config, model(x), y).backward()
        optimizer.step()
        scheduler.step()


def sharpness_aware(config: RunConfig, model: nn.Module, batches: Batches) -> None:
    optimizer, rho = torch_optimizer(config, model.train()), option(config, "update", "rho")
    for x, y, _ in batches:
        parameters = list(model.parameters())
        g = torch.autograd.grad(loss_of(config, model(x), y), parameters)
        length = torch.cat([t.flatten() for t in g]).norm()
        there = {n: w + rho * t / length for (n, w), t in zip(model.named_parameters(), g, strict=True)}
        again = torch.autograd.grad(loss_of(config, torch.func.functional_call(model, there, (x,)), y), parameters)
        for w, t in zip(parameters, again, strict=True):
            w.grad = t
        optimizer.step()


def gradient_penalized(config: RunConfig, model: nn.Module, batches: Batches) -> None:
    optimizer, strength = torch_optimizer(config, model.train()), option(config, "objective", "strength")
    for x, y, _ in batches:
        optimizer.zero_grad()
        loss = loss_of(config, model(x), y)
        g = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
        (loss + strength / 2 * torch.stack([t.square().sum() for t in g]).sum()).backward()
        optimizer.step()


@dataclass
class Case:
    """A config's difference from BASE that shows the entry, and the loop that it must equal; None: alone is enough."""

    changes: dict[str, Any] = field(default_factory=dict)
    twin: Twin | None = plain


IMAGES, SMALL = {"dataset": "mnist"}, {"dataset": "digits_images"}
STEPS_50 = {"max_epochs": 10, "stops": ("epoch_10",)}
CASES: dict[str, dict[str, Case]] = {
    "objective": {
        "plain": Case(),
        "norm_penalty": Case({"objective": {"norm_penalty": {"strength": 0.1}}}, decayed),
        "gradient_penalty": Case({"objective": {"gradient_penalty": {"strength": 0.3}}}, gradient_penalized),
    },
    "update": {
        "plain": Case({"weight_decay": 0.1}),
        "sam": Case({"update": {"sam": {"rho": 0.1}}}, sharpness_aware),
        "averaged": Case({"update": "averaged"}),
    },
    "schedule": {"constant": Case(), "cosine": Case({"schedule": {"cosine": {"floor": 0.1}}}, annealed)},
    "batch": {"plain": Case(), "adversarial": Case({"batch": {"adversarial": {"radius": 0.2}}}, None)},
    "mask": {"dense": Case(), "random": Case({"mask": {"random": {"sparsity": 0.3}}}, None)},
    "growth": {"none": Case(), "doubled": Case({"growth": {"doubled": {"epoch": 1}}}, None)},
    "extra": {"none": Case(), "flipped": Case({"extra": {"flipped": {"n": 5}}})},
    "dataset": {
        name: Case({"dataset": name}) for name in ("digits", "digits_images", "mnist", "fashion_mnist", "cifar10")
    },
    "model": {
        "mlp": Case({**STEPS_50, **SMALL, "model": {"mlp": {"activation": "gelu"}}}),
        "lenet5": Case({**STEPS_50, **IMAGES, "model": "lenet5"}),
        "nin": Case({**STEPS_50, **SMALL, "model": {"nin": {"depth": 2, "width": 4}}}),
        "vgg": Case({**STEPS_50, **SMALL, "model": {"vgg": {"depth": 2, "width": 3}}}),
        "resnet": Case({**STEPS_50, **SMALL, "model": {"resnet": {"depth": 8, "width": 2}}}),
        # Batch-norm of one pixel of seven images would make rounding grow by 1e10 in its 18 layers.
        "resnet18": Case(
            {**SMALL, "model": {"resnet18": {"width": 2}}, "batch_size": 16, "max_epochs": 25, "stops": ("epoch_25",)}
        ),
        "vit": Case({**STEPS_50, **SMALL, "model": {"vit": {"depth": 1, "heads": 2, "width": 8}}}),
        "batch_norm": Case({**IMAGES, "model": "batch_norm"}),
        "norm_dropout": Case({"model": "norm_dropout"}, None),
    },
    "init": {
        name: Case({"init": name, "init_gain": 1.5})
        for name in ("default", "xavier_normal", "kaiming_uniform", "uniform_0.1", "normal_0.1")
    },
    "loss": {"cross_entropy": Case(), "squared_error": Case({"loss": "squared_error"})},
    "optimizer": {"sgd": Case(), "adam": Case({"optimizer": "adam", "momentum": 0.0, "weight_decay": 0.1})},
}
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
        assert CASES[name].keys() == set(registry), f"{name}: CASES has not the entries of its registry"


def tensors(config: RunConfig) -> Tensors:
    """Random inputs of the data set's shape, and what the config adds to them."""
    generator, shape = torch.Generator().manual_seed(1), DATASETS[config.dataset].shape
    x, y = torch.rand(31, *shape, generator=generator), torch.randint(10, (31,), generator=generator)
    return EXTRAS[config.extra.name](Tensors(x, y, x, y), lambda k: (x[:k], y[:k]), EXTRAS.options(config.extra))


def trained(configs: Sequence[RunConfig], mode: str, folder: Path) -> list[dict[str, Tensor]]:
    """The weights and buffers of networks trained as one stack."""
    paths = [RunPaths(folder, run_key(config)) for config in configs]
    population = Population(configs, paths, tensors(configs[0]), "cpu", mode, lambda: None)
    assert population.train(should_stop=lambda: False, on_epoch=lambda runs: None, save_every_seconds=1e9)
    return [read_tensors(p.stop(configs[0].stops[-1]).weights) for p in paths]


def by_twin(config: RunConfig, twin: Twin) -> dict[str, Tensor]:
    """The same network by the plain loop on the same batches."""
    data, model = tensors(config), build_model(config)
    labels = training_labels(config, data.train_y)
    batches = []
    for epoch in range(config.max_epochs):
        order = torch.randperm(len(labels), generator=generator_for(config.seed, "order", epoch))
        steps = order.split(config.batch_size)
        batches += [(data.train_x[b], labels[b], epoch + i / len(steps)) for i, b in enumerate(steps)]
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


@pytest.mark.parametrize(("seam", "name"), [(seam, name) for seam, cases in CASES.items() for name in cases])
def test_in_a_stack_as_alone_as_by_hand(seam: str, name: str, tmp_path: Path) -> None:
    """Three networks with other seeds, rates and options in one stack; each again alone, with and without vmap."""
    case = CASES[seam][name]
    configs = [
        config_from_dict({**BASE, **{k: moved(v, f) if k in SEAMS else v for k, v in case.changes.items()},
                          "lr": BASE["lr"] * f, "seed": seed})
        for seed, f in ((3, 1.0), (4, 0.5), (5, 1.5))
    ]  # fmt: skip
    together = trained(configs, "stacked", tmp_path / "all")
    for i, config in enumerate(configs):
        if seam == "model" and i != 1:  # 50 steps, of which one network is enough
            continue
        for mode in ("stacked", "sequential"):
            (alone,) = trained([config], mode, tmp_path / f"{mode}{i}")
            assert_equal(together[i], alone)
        if case.twin:
            assert_equal(together[i], by_twin(config, case.twin))
    assert any(not torch.equal(together[0][n], together[1][n]) for n in together[0])


@pytest.mark.parametrize(
    ("seam", "name"), [(seam, name) for seam, cases in OURS.items() for name in cases if name != "averaged"]
)
def test_an_entry_of_ours_changes_what_is_trained(seam: str, name: str, tmp_path: Path) -> None:
    """Without this the test above would pass for an entry that the loop never calls."""
    case = CASES[seam][name]
    with_entry = config_from_dict({**BASE, **case.changes})
    default = "mlp" if seam == "model" else next(iter(REGISTRIES[seam]))
    without = config_from_dict({**BASE, **case.changes, seam: default})
    (a,), (b,) = (trained([c], "stacked", tmp_path / str(i)) for i, c in enumerate((with_entry, without)))
    assert a.keys() != b.keys() or any(not torch.allclose(a[n], b[n]) for n in a)


def test_what_an_update_keeps_is_saved_and_stacked(tmp_path: Path) -> None:
    configs = [config_from_dict({**BASE, "update": "averaged", "seed": seed}) for seed in (3, 4)]
    paths = [RunPaths(tmp_path, run_key(config)) for config in configs]
    for epochs in (1, 2):
        population = Population(configs, paths, tensors(configs[0]), "cpu", "stacked", lambda: None)
        population.train(should_stop=lambda: True, on_epoch=lambda runs: None, save_every_seconds=1e9)
        kept = [read_tensors(p.state)["optimizer"] for p in paths]
        assert all(k["seen"]["fc1.bias"].item() == 5 * epochs for k in kept)
        assert kept[0].keys() == {"momentum", "average", "seen"}
    assert not torch.equal(kept[0]["average"]["fc1.weight"], kept[1]["average"]["fc1.weight"])


def test_masked_weights_stay_dead(tmp_path: Path) -> None:
    config = config_from_dict({**BASE, "mask": "random", "update": "sam", "weight_decay": 0.1})
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
    ((loss, _),) = again._check([0])
    assert loss == pytest.approx(read_tensors(paths.state)["last_loss"], rel=1e-12)
    again.train(should_stop=lambda: False, on_epoch=lambda runs: None, save_every_seconds=1e9)
    build_model(config).load_state_dict(read_tensors(paths.stop("epoch_4").weights))
