"""A choice: checked in one line, one key however it is spelled, reached by dotted paths, no trace at its default."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.__main__ import main
from study.choice import Choice, ConfigError, number
from study.config import SEAMS, RunConfig, completed, config_from_dict, config_to_dict, run_key
from study.grid import load_study, shards
from study.hyperparameter import hyperparameters, is_whole
from study.seams.optimizer import Optimizer
from study.seams.update import Update
from study.state import claim
from study.storage.paths import RunPaths
from tests.support.entries import all_registered, registered


@pytest.fixture(autouse=True)
def entries() -> Iterator[None]:
    with all_registered():
        yield


def objective(value: object) -> Choice:
    return config_from_dict({"objective": value}).objective


def test_one_key_however_it_is_spelled() -> None:
    spelled = ["norm_penalty", {"norm_penalty": None}, {"norm_penalty": {"strength": 0}}, Choice("norm_penalty")]
    assert {objective(value) for value in spelled} == {Choice("norm_penalty")}
    assert objective({"norm_penalty": {"strength": "1e-1"}}) == Choice("norm_penalty", (("strength", 0.1),))
    configs = [RunConfig(), *(config_from_dict({"objective": v}) for v in spelled)]
    assert len({run_key(c) for c in configs}) == 2
    zeros = [config_from_dict({"update": {"sam": {"rho": rho}}}) for rho in (0.0, "-0", -0.0)]
    assert len(set(zeros)) == len({run_key(c) for c in zeros}) == 1
    assert run_key(configs[1]) != run_key(config_from_dict({"objective": {"norm_penalty": {"strength": 0.1}}}))
    assert run_key(config_from_dict({"objective": "plain", "mask": {"dense": {}}})) == run_key(RunConfig())


def test_json_round_trip_names_every_option() -> None:
    config = config_from_dict({"objective": {"norm_penalty": {"strength": 0.5}}, "update": "averaged"})
    stored = json.loads(json.dumps(config_to_dict(config)))
    assert stored["objective"] == {"norm_penalty": {"strength": 0.5}} and stored["mask"] == "dense"
    assert stored["update"] == {"averaged": {"kind": "mean"}}
    assert config_from_dict(stored) == config


def test_older_config_files_mean_the_defaults() -> None:
    """A folder made before a field or an option came still belongs to its run."""
    config = config_from_dict({"lr": 0.3, "update": {"averaged": {}}})
    stored = config_to_dict(config)
    for name in ("objective", "schedule", "batch", "mask", "growth", "extra"):
        del stored[name]
    assert completed({**stored, "update": "averaged"}) == config_to_dict(config)
    assert completed({**stored, "update": "plain"}) != config_to_dict(config)


@pytest.mark.parametrize("gone", ["n_train", "seed", "checks_per_epoch"])
def test_a_config_file_that_lacks_an_old_field_is_another_run_s(gone: str, tmp_path: Path) -> None:
    """An older file may lack what came later: any other that was cut or edited would pass for a run at the defaults."""
    config, paths = RunConfig(), RunPaths(tmp_path, run_key(RunConfig()))
    claim(config, paths, lambda: None)
    stored = json.loads(paths.config.read_text())
    later = ("mask", "growth", "lr_factor")
    paths.config.write_text(json.dumps({k: v for k, v in stored.items() if k not in later}))
    claim(config, paths, lambda: None)
    paths.config.write_text(json.dumps({k: v for k, v in stored.items() if k != gone}))
    with pytest.raises(ValueError, match=rf"config\.json: {gone}: is missing, allowed: the study's "):
        claim(config, paths, lambda: None)


def test_a_buffer_of_an_update_is_not_the_optimizer_s() -> None:
    with registered(SEAMS["update"], "ema", Update(lambda step: None, Optimizer((), ("mean", "momentum")))):
        for optimizer, name in (("sgd", "momentum"), ("adam", "mean")):
            words = rf"update: 'ema': keeps {name}, allowed with {optimizer}: buffers of other names"
            with pytest.raises(ConfigError, match=words):
                config_from_dict({"update": "ema", "optimizer": optimizer})


def test_columns_only_where_a_seam_is_changed() -> None:
    assert not any("." in name or name in ("objective", "update", "extra") for name in hyperparameters(RunConfig()))
    found = hyperparameters(config_from_dict({"objective": {"norm_penalty": {"strength": 0.5}}}))
    assert (found["objective"], found["objective.strength"]) == ("norm_penalty", 0.5)
    assert "update" not in found
    assert hyperparameters(RunConfig(), {"objective"})["objective"] == "plain"


def test_an_optimizer_is_named_in_every_row_and_its_options_where_one_is_changed() -> None:
    """The field is one of the first: its column was there before it was a choice."""
    for name in ("sgd", "adam"):
        config = config_from_dict({"optimizer": name})
        found = hyperparameters(config)
        assert found["optimizer"] == name and not [column for column in found if column.startswith("optimizer.")]
        assert completed({**config_to_dict(config), "optimizer": name}) == config_to_dict(config)
    found = hyperparameters(config_from_dict({"optimizer": {"adam": {"beta2": 0.9}}, "lr_factor": 0.5}))
    assert (found["optimizer.beta1"], found["optimizer.beta2"], found["lr_factor"]) == (0.9, 0.9, 0.5)
    assert run_key(config_from_dict({"optimizer": "adam"})) == "093a6d640329", "the key of before it was a choice"


def test_a_fresh_row_has_the_published_columns() -> None:
    header = Path("analysis/records/digits_mlp.csv").read_text().partition("\n")[0].split(",")
    fields = [f"hp.{name}" for name in hyperparameters(RunConfig()) if name != "stops"]
    assert fields == [name for name in header if name.startswith("hp.")]


def test_whole_numbers_are_known_by_their_column() -> None:
    assert [name for name in ("seed", "growth.epoch", "lr", "objective.strength", "growth") if is_whole(name)] == [
        "seed", "growth.epoch"]  # fmt: skip
    with registered(SEAMS["growth"], "other", None, epoch=number(0.5)):
        assert not is_whole("growth.epoch"), "an option of this name is a fraction elsewhere"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"objective": "flat"}, ("objective: 'flat'", "allowed: ", "norm_penalty, plain")),
        ({"objective": 3}, ("objective: 3", "a name, or name: {option: value}")),
        ({"objective": ["plain"]}, ("objective: ['plain']", "a name")),
        ({"objective": {"plain": {}, "norm_penalty": {}}}, ("objective", "a name, or name: {option: value}")),
        ({"objective": {"norm_penalty": 0.1}}, ("objective", "name: {option: value}")),
        ({"objective": {"norm_penalty": {"weight": 1}}}, ("norm_penalty.weight: 1", "unknown option", "strength")),
        ({"objective": {"plain": {"strength": 1}}}, ("plain.strength", "unknown option, allowed: none")),
        ({"objective": {"norm_penalty": {"strength": -1}}}, ("norm_penalty.strength: -1", "0 <= number")),
        ({"objective": {"norm_penalty": {"strength": True}}}, ("norm_penalty.strength: True", "number")),
        ({"objective": {"norm_penalty": {"strength": "much"}}}, ("strength: 'much'", "number")),
        ({"objective": {"norm_penalty": {"strength": float("nan")}}}, ("strength: nan", "number")),
        ({"mask": {"random": {"sparsity": 1}}}, ("mask.random.sparsity: 1", "0 <= number < 1")),
        ({"growth": {"doubled": {"epoch": 1.5}}}, ("growth.doubled.epoch: 1.5", "an integer >= 0")),
        ({"update": {"averaged": {"kind": "max"}}}, ("update.averaged.kind: 'max'", "mean, sum")),
        ({"mask": "random", "growth": "doubled"}, ("growth: 'doubled'", "mask")),
        (
            {"schedule": {"constant": {"warmup": 100}}},
            ("schedule.constant.warmup: 100.0", "less than max_epochs = 100"),
        ),
        ({"schedule": "step", "max_epochs": 30, "stops": ["epoch_1"]}, ("schedule.step.every: 30", "max_epochs = 30")),
        ({"schedule": {"drops": {"at": "60-100"}}}, ("schedule.drops.at: '60-100'", "less than max_epochs = 100")),
        ({"schedule": {"drops": {"at": "80-60"}}}, ("schedule.drops.at: '80-60'", "epochs that grow", "'60-80-90'")),
        ({"schedule": {"drops": {"at": "060-80"}}}, ("schedule.drops.at: '060-80'", "epochs that grow")),
        (
            {"schedule": {"step": {"of": "momentum"}}, "optimizer": "adam"},
            ("of: 'momentum'", "beta1, beta2, eps, lr, w"),
        ),
        ({"schedule": {"drops": {"at": 60}}}, ("schedule.drops.at: 60", "in quotes")),
        ({"schedule": {"cosine": {"of": "rho"}}}, ("schedule.cosine.of: 'rho'", "lr, momentum, weight_decay")),
        ({"schedule": {"cosine": {"of": "beta1"}}, "optimizer": "rmsprop"}, ("of: 'beta1'", "alpha, eps, lr")),
        ({"batch": "augment"}, ("batch: 'augment'", "needs images (channels, height, width)", "digits has (64,)")),
        ({"dataset": "mnist", "batch": {"augment": {"crop": 28}}}, ("batch.augment.crop: 28", "less than", "28")),
        ({"dataset": "mnist", "batch": {"augment": {"cutout": 40}}}, ("batch.augment.cutout: 40", "less than", "28")),
        ({"update": "entropy_sgd", "batch": {"augment": {"flip": 1}}}, ("batch.augment.flip: 1", "0 <= number < 1")),
    ],
)
def test_wrong_choices(values: dict[str, object], words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        config_from_dict(values)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def study(folder: Path, text: str) -> list[RunConfig]:
    path = folder / "s.yaml"
    path.write_text(text + "\nmeasures: [train_loss]\n")
    return list(load_study(path).runs)


def test_dotted_paths_in_a_grid(tmp_path: Path) -> None:
    strengths = [
        c.objective
        for c in study(tmp_path, "grid: {objective.norm_penalty.strength: [0, 1e-1]}\nfixed: {objective: norm_penalty}")
    ]
    assert strengths == [Choice("norm_penalty"), Choice("norm_penalty", (("strength", 0.1),))]
    runs = study(tmp_path, "zip: {update.sam.rho: [0.1, 0.2], lr: [1, 2]}\nfixed: {schedule.cosine.floor: 0.5}")
    assert [(c.update.options, c.lr, c.schedule.name) for c in runs] == [
        ((("rho", 0.1),), 1.0, "cosine"), ((("rho", 0.2),), 2.0, "cosine")]  # fmt: skip
    both = "grid: {update: [plain, {sam: {rho: 0.1}}, {sam: {rho: 0.2}}], growth.doubled.epoch: [1, 2]}"
    assert len(study(tmp_path, both)) == 6
    assert len(study(tmp_path, both + "\nexclude: [{update.sam.rho: 0.1}]")) == 4
    assert len(study(tmp_path, both + "\nexclude: [{update: sam, growth.doubled.epoch: 1}]")) == 4
    assert len(study(tmp_path, both + "\nexclude: [{update: plain}]")) == 4


def test_numbers_share_a_stack_and_names_and_whole_numbers_do_not(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    for axis, n_shards in (
        ("objective.norm_penalty.strength: [0, 1, 2]", 1), ("growth.doubled.epoch: [1, 2]", 2),
        ("mask.random.sparsity: [0.1, 0.2]", 1), ("extra.flipped.noise: [0, 1]", 2),
        ("update.averaged.kind: [mean, sum]", 2), ("update: [plain, sam, {sam: {rho: 1}}]", 2),
    ):  # fmt: skip
        path.write_text(f"grid: {{{axis}}}\nmeasures: [train_loss]\n")
        assert len(shards(load_study(path))) == n_shards


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("grid: {objective.strength: [1]}", ("objective.strength", "<field>.<name>.<option>")),
        ("grid: {lr.plain.x: [1]}", ("lr.plain.x", "objective")),
        ("grid: {objective.norm_penalty.strength: 1}", ("grid.objective.norm_penalty.strength", "a list")),
        ("grid: {objective.norm_penalty.weight: [1]}", ("objective.norm_penalty.weight", "unknown option")),
        ("grid: {objective.flat.x: [1]}", ("objective: 'flat'", "allowed: ")),
        ("fixed: {objective: plain}\ngrid: {objective.norm_penalty.strength: [1]}", ("objective is plain",)),
        ("fixed: {update: {sam: {rho: 1}}}\ngrid: {update.sam.rho: [1]}", ("update.sam.rho", "once")),
        ("fixed: {update.sam.rho: 1}\ngrid: {update.sam.rho: [1]}", ("update.sam.rho", "set in two")),
        ("grid: {update.sam.rho: [0.05, 5e-2]}", ("duplicate run",)),
        ("grid: {update.sam.rho: [1]}\nexclude: [{update.sam.rho: 2}]", ("exclude", "excludes no run")),
        ("exclude: [{update.sam.size: 2}]", ("update.sam.size", "unknown option")),
        ("fixed: {0.5: 1}", ("0.5", "dotted path")),
    ],
)
def test_wrong_paths_are_one_line(
    text: str, words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text + "\nmeasures: [train_loss]\n")
    assert main(["plan", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for word in words:
        assert word in error
