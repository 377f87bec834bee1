"""What a run is trained on: subsets, held-out images, groups of classes, noisy labels; and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from study.choice import Choice
from study.config import ConfigError, config_from_dict, n_classes, n_images
from study.data.dataset import load
from study.data.subset import chosen
from study.grid import load_study
from study.loss import mean_loss_and_error, predicted, sample_losses
from study.measuring import Measuring
from study.records import run_rows
from study.run import run_shard
from study.seeds import generator_for
from study.storage.atomic import read_json, read_tensors
from study.storage.paths import RunPaths
from study.training.population import Population
from study.training.start import build_model, training_data, training_labels, with_own_labels

TINY = {"hidden": [6], "batch_size": 20, "stops": ["epoch_2"], "max_epochs": 2, "n_train": 60}


def test_a_balanced_subset_has_as_many_of_each_class_and_grows() -> None:
    whole, seen = load("digits"), {}
    for n in (40, 95):
        data = training_data(config_from_dict({"n_train": n, "subset": "balanced", "seed": n}))
        counts = data.train_y.bincount(minlength=10)
        assert counts.sum() == n and counts.max() - counts.min() <= 1
        seen[n] = {x.numpy().tobytes() + bytes([int(y)]) for x, y in zip(data.train_x, data.train_y, strict=True)}
        assert torch.equal(data.test_x, whole.test_x)
    assert len(seen[95]) == 95 and seen[40] < seen[95]
    assert seen[95] < {x.numpy().tobytes() + bytes([int(y)]) for x, y in zip(whole.train_x, whole.train_y, strict=True)}
    other = training_data(config_from_dict({"n_train": 40, "subset": {"balanced": {"seed": 1}}}))
    assert {x.numpy().tobytes() for x in other.train_x} != {x[:-1] for x in seen[40]}


def test_a_class_of_too_few_images_is_one_line() -> None:
    least = int(load("digits").train_y.bincount().min())
    training_data(config_from_dict({"n_train": 10 * least, "subset": "balanced"}))
    with pytest.raises(
        ConfigError, match=rf"n_train: 299: allowed with subset balanced: at most {10 * least}, {least} of"
    ):
        training_data(config_from_dict({"n_train": 299, "subset": "balanced"}))


@pytest.mark.parametrize("subset", ["first", "balanced"])
def test_the_last_images_are_held_out(subset: str) -> None:
    whole = load("digits")
    config = config_from_dict({"n_train": 150, "n_validation": 70, "subset": subset})
    data = training_data(config)
    assert data.validation_x is not None and data.validation_y is not None
    assert torch.equal(data.validation_x, whole.train_x[230:]) and torch.equal(data.validation_y, whole.train_y[230:])
    held = {x.numpy().tobytes() for x in data.validation_x}
    assert len(data.train_y) == 150 and not held & {x.numpy().tobytes() for x in data.train_x}
    if subset == "first":
        assert torch.equal(data.train_x, whole.train_x[:150])
        rest = config_from_dict({"n_validation": 70})
        assert n_images(rest) == 230 and torch.equal(training_data(rest).train_x, whole.train_x[:230])


def test_validation_is_evaluated_and_recorded(tmp_path: Path) -> None:
    configs = [config_from_dict({**TINY, "n_validation": n}) for n in (0, 50)]
    for config in configs:
        run_shard([config], ["train_loss"], runs_root=tmp_path)
    (without,), (row,) = (run_rows(config, tmp_path, ["train_loss"]) for config in configs)
    assert not [name for name in without if "validation" in name]
    added = {"hp.n_validation", "validation.loss", "validation.error", "n.validation"}
    assert row.keys() - without.keys() == added and (row["n.validation"], row["hp.n_validation"]) == ("50", "50")
    model = build_model(configs[1]).eval()
    model.load_state_dict(read_tensors(RunPaths(tmp_path, row["key"]).stop("epoch_2").weights))
    x, y = load("digits").train_x[250:], load("digits").train_y[250:]
    loss, error = mean_loss_and_error(model, x, y, "cross_entropy")
    assert (float(row["validation.loss"]), float(row["validation.error"])) == (loss.item(), error.item())
    assert row["train.loss"] == without["train.loss"], "what is held out behind n_train changes no training"


def test_uniform_labels_are_drawn_over_the_classes_present() -> None:
    clean = torch.tensor([2, 5, 7] * 1000)

    def labels(fraction: float, seed: int = 0) -> torch.Tensor:
        return training_labels(config_from_dict({"labels": {"uniform": {"fraction": fraction}}, "seed": seed}), clean)

    assert torch.equal(labels(0.0), clean)
    assert set(labels(1.0).tolist()) == {2, 5, 7}
    assert (labels(1.0) == clean).double().mean().item() == pytest.approx(1 / 3, abs=0.04)
    assert (labels(0.3) != clean).double().mean().item() == pytest.approx(0.3 * 2 / 3, abs=0.03)
    assert torch.equal(labels(0.3), labels(0.3)) and not torch.equal(labels(0.3), labels(0.3, seed=1))
    moved = [labels(fraction) != clean for fraction in (0.2, 0.6)]
    assert not (moved[0] & ~moved[1]).any(), "more noise keeps what less of it has moved"


@pytest.mark.parametrize("test", ["no", "yes", False, True])
def test_labels_of_held_out_images_are_noisy_where_asked(test: str | bool) -> None:
    given = {"labels": {"uniform": {"fraction": 0.5, "test": test}}, "n_train": 100, "n_validation": 100, "seed": 2}
    config = config_from_dict(given)
    data = training_data(config)
    own = with_own_labels(config, data)
    assert torch.equal(own.train_y, data.train_y)
    assert data.validation_y is not None and own.validation_y is not None
    shares = [
        (a != b).double().mean().item() for a, b in ((own.test_y, data.test_y), (own.validation_y, data.validation_y))
    ]
    assert shares == [0, 0] if test in ("no", False) else all(0.3 < share < 0.6 for share in shares)


def test_classes_in_two_groups() -> None:
    whole = load("digits")
    for positive, classes in (("upper_half", {5, 6, 7, 8, 9}), ("1-3", {1, 3})):
        config = config_from_dict({"target": {"binary": {"positive": positive}}, "n_validation": 10, "n_train": 100})
        data = training_data(config)
        assert n_classes(config) == 2 and build_model(config)(data.test_x).shape[1] == 2
        for found, own in ((data.train_y, whole.train_y[:100]), (data.test_y, whole.test_y),
                           (data.validation_y, whole.train_y[290:])):  # fmt: skip
            assert found is not None and found.tolist() == [int(int(c) in classes) for c in own]
    assert config_from_dict({"target": "binary"}) == config_from_dict(
        {"target": {"binary": {"positive": "upper_half"}}}
    )


def test_one_output_is_trained_and_evaluated_by_its_sign(tmp_path: Path) -> None:
    config = config_from_dict({
        **TINY, "target": "binary", "loss": "binary_cross_entropy", "lr": 0.3, "stops": ["error_0"], "max_epochs": 150,
        "labels": {"uniform": {"fraction": 0.1}},
    })  # fmt: skip
    measures = ["relative_flatness", "lambda_max", "inverse_margin", "pac_bayes_flatness", "fisher_rao_norm"]
    report = run_shard([config], measures, runs_root=tmp_path)
    ((row,), paths) = run_rows(config, tmp_path, measures), RunPaths(tmp_path, report.trained[0])
    assert row["train.converged"] == "True" and row["train.error"] == "0.0" and not report.failed
    model, data = build_model(config).eval(), training_data(config)
    model.load_state_dict(read_tensors(paths.stop("error_0").weights))
    with torch.no_grad():
        f = model(data.test_x)
    assert f.shape[1] == 1
    p = torch.sigmoid(f[:, 0].double())
    expected = -torch.where(data.test_y == 1, p, 1 - p).log().mean().item()
    assert float(row["test.loss"]) == pytest.approx(expected, rel=1e-5)
    assert float(row["test.error"]) == pytest.approx(((p > 0.5) != (data.test_y == 1)).double().mean().item())


def test_one_output_and_two_have_the_same_loss_and_class() -> None:
    f, y = torch.randn(50, 1, dtype=torch.float64), torch.randint(2, (50,))
    both = torch.cat([torch.zeros_like(f), f], 1)
    one, two = (sample_losses(g, y, loss) for g, loss in ((f, "binary_cross_entropy"), (both, "cross_entropy")))
    torch.testing.assert_close(one, two)
    assert torch.equal(predicted(f), predicted(both))


def test_bytes_are_trained_to_the_bits_of_their_floats(tmp_path: Path) -> None:
    """As on a GPU, where images stay bytes until a batch is taken."""
    generator = generator_for(0, "test")
    raw = training_data(config_from_dict({"n_train": 30, "batch_size": 7}))
    raw = raw.changed({
        name: torch.randint(0, 256, (len(x), 64), dtype=torch.uint8, generator=generator)
        for name, x in raw.inputs().items()
    })  # fmt: skip
    weights, taken = [], []
    for data in (raw, raw.decoded()):
        configs = [config_from_dict({**TINY, "n_train": 30, "batch_size": 7, "seed": seed}) for seed in (0, 1)]
        paths = [RunPaths(tmp_path / str(data.train_x.dtype), str(i)) for i in range(2)]
        population = Population(configs, paths, data, "cpu", "stacked", lambda: None, test_curve=True)
        assert population.train(should_stop=lambda: False, on_epoch=lambda runs: None, save_every_seconds=1e9)
        weights.append([read_tensors(p.stop("epoch_2").weights) for p in paths])
        curves = [p.epochs.read_bytes() for p in paths]
        assert Measuring(["inverse_margin", "train_loss"], data, "cpu").run(
            zip(configs, paths, strict=True), lambda: False, lambda event: None
        )
        taken.append([read_json(p.stop("epoch_2").measure("train_loss"))["value"] for p in paths])
    assert taken[0] == taken[1]
    assert all(torch.equal(a[n], b[n]) for a, b in zip(*weights, strict=True) for n in a)
    assert curves == [RunPaths(tmp_path / "torch.uint8", str(i)).epochs.read_bytes() for i in range(2)]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"n_train": 250, "n_validation": 51}, ("n_validation: 51", "300 training images", "250")),
        ({"n_validation": 300}, ("n_validation: 300", "300 training images")),
        ({"n_validation": 290, "batch_size": 11}, ("batch_size: 11", "10 training images")),
        ({"subset": "balanced"}, ("subset: 'balanced'", "n_train 0 (all images): first")),
        ({"subset": "random"}, ("subset: 'random'", "balanced, first")),
        ({"loss": "binary_cross_entropy"}, ("loss: 'binary_cross_entropy'", "10", "target binary")),
        ({"target": {"binary": {"positive": "5-10"}}}, ("target.binary.positive: '5-10'", "classes 0 to 9")),
        ({"target": {"binary": {"positive": "5-5"}}}, ("target.binary.positive: '5-5'", "growing")),
        ({"target": {"binary": {"positive": "7-5"}}}, ("target.binary.positive: '7-5'", "growing")),
        ({"target": {"binary": {"positive": "05-6"}}}, ("target.binary.positive: '05-6'", "growing")),
        ({"target": {"binary": {"positive": "0-1-2-3-4-5-6-7-8-9"}}}, ("target.binary.positive", "not all of them")),
        ({"target": {"binary": {"positive": 5}}}, ("target.binary.positive: 5", "in quotes")),
        ({"labels": "uniform", "label_noise": 0.1}, ("labels: 'uniform'", "label_noise: given")),
        ({"labels": {"uniform": {"fraction": 1.1}}}, ("labels.uniform.fraction: 1.1", "<= 1")),
        ({"labels": {"uniform": {"test": "maybe"}}}, ("labels.uniform.test: 'maybe'", "no, yes")),
    ],
)
def test_what_cannot_be_is_one_line(values: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_dict(values)
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words), caught.value


def test_a_yaml_reaches_inside(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "fixed: {target: {binary: {positive: 1-3-5}}, loss: binary_cross_entropy, labels: {uniform: {test: yes}}}\n"
        "grid: {labels.uniform.fraction: [0, 0.5, 1]}\nmeasures: [train_loss]\n"
    )
    runs = load_study(tmp_path / "s.yaml").runs
    assert [dict(run.labels.options).get("fraction", 0.0) for run in runs] == [0, 0.5, 1]
    assert {run.target for run in runs} == {Choice("binary", (("positive", "1-3-5"),))}


def test_an_extra_set_takes_no_image_that_is_held_out() -> None:
    whole = load("digits")
    for subset in (Choice("first"), Choice("balanced")):
        data, more = chosen(Choice("digits"), 100, 50, subset, False)
        x, y = more(20)
        taken = {row.numpy().tobytes() for row in data.train_x} | {row.numpy().tobytes() for row in whole.train_x[250:]}
        assert len(x) == len(y) == 20 and not {row.numpy().tobytes() for row in x} & taken
        with pytest.raises(ConfigError, match="n_train: 100: allowed with 151 more images behind them: at most 99"):
            more(151)
    _, more = chosen(Choice("digits"), 100, 0, Choice("first"), False)
    assert torch.equal(more(7)[0], whole.train_x[100:107])


def test_the_labels_that_are_noisy_are_those_evaluated(tmp_path: Path) -> None:
    config = config_from_dict({**TINY, "n_validation": 5, "labels": {"uniform": {"fraction": 1.0, "test": "yes"}}})
    (key,) = run_shard([config], [], runs_root=tmp_path).trained
    found = read_json(RunPaths(tmp_path, key).stop("epoch_2").evaluation)
    data = with_own_labels(config, training_data(config))
    model = build_model(config).eval()
    model.load_state_dict(read_tensors(RunPaths(tmp_path, key).stop("epoch_2").weights))
    for part, x, y in (("test", data.test_x, data.test_y), ("validation", data.validation_x, data.validation_y)):
        assert found[part]["error"] == mean_loss_and_error(model, x, y, "cross_entropy")[1].item()  # type: ignore[arg-type]
    assert found["validation"]["n"] == 5
