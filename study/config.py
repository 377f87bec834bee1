"""RunConfig: everything that can change a number, and nothing else. Frozen, typed, strict; its hash names the run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from study.choice import Choice, Registry
from study.choice import ConfigError as ConfigError
from study.data.dataset import DATASETS, known
from study.data.extra import EXTRAS
from study.data.labels import LABELS
from study.data.subset import SUBSETS
from study.data.target import TARGETS, Groups, groups
from study.field import RULES, converted
from study.loss import n_outputs
from study.models.registry import MODELS
from study.names import STOP_ALLOWED, Stop
from study.seams.batch import BATCHES
from study.seams.growth import GROWTHS
from study.seams.mask import MASKS
from study.seams.objective import OBJECTIVES
from study.seams.optimizer import OPTIMIZERS
from study.seams.precision import PRECISIONS
from study.seams.schedule import SCHEDULES
from study.seams.update import UPDATES

_PLAIN, _CONSTANT, _DENSE, _NONE = Choice("plain"), Choice("constant"), Choice("dense"), Choice("none")
_SGD, _DIGITS, _MLP = Choice("sgd"), Choice("digits"), Choice("mlp")
_FIRST, _CLASSES, _GIVEN = Choice("first"), Choice("classes"), Choice("given")
_FLOAT32 = Choice("float32")


@dataclass(frozen=True)
class RunConfig:
    """One network: what is trained, on what, how, and where it is measured.

    A new field needs a default that leaves every earlier run as it was: keys are hashes of what differs from the
    defaults, and a default never changes.
    """

    dataset: Choice = _DIGITS  # what is learned; the test set is always whole
    n_train: int = 0  # 0: the whole training split, but what is held out; else n images of it, by `subset`
    label_noise: float = 0.0  # fraction of training labels replaced by another class, drawn from the run's seed
    model: Choice = _MLP  # the network, a name or a name with options
    hidden: tuple[int, ...] = (64, 64)  # widths of the hidden layers; only `mlp` reads it
    # initial weights, by torch.nn.init, with biases of 0; `default` is PyTorch's own for weights and biases,
    # `uniform_0.1` is U(-0.1, 0.1), `normal_0.1` has a standard deviation of 0.1
    init: str = "default"
    init_gain: float = 1.0  # factor on the initial weights (not on biases)
    optimizer: Choice = _SGD  # how a gradient moves weights, as torch.optim has it
    lr: float = 0.1  # learning rate
    momentum: float = 0.0  # of the optimizers that have one, without dampening
    weight_decay: float = 0.0  # times the weights and biases, added to the gradient, or decoupled from it
    batch_size: int = 32  # training images a step; the last step of an epoch takes what is left
    # mean over images; `squared_error` sums (output - onehot)^2 over outputs, `binary_cross_entropy` is of one output
    loss: str = "cross_entropy"
    stops: tuple[str, ...] = ("loss_0.01",)  # where it is measured: a training loss or error is met, or an epoch ends
    max_epochs: int = 100  # where training ends if stops are not met
    checks_per_epoch: int = 1  # full training losses taken per epoch once the loss is within a factor 2 of a stop
    seed: int = 0  # of everything random in training; a study gives it in `seeds`
    lr_factor: float = 1.0  # times `lr`: one axis of a grid where each optimizer has a learning rate of its own
    n_validation: int = 0  # the last n images of the training split: held out, evaluated, recorded as `validation.*`
    # The seams of training, each a name, or a name with options.
    objective: Choice = _PLAIN  # what training lowers; measures and stops use `loss`
    update: Choice = _PLAIN  # how weights move, around the optimizer
    schedule: Choice = _CONSTANT  # learning rate and other coefficients over time
    batch: Choice = _PLAIN  # what a training step sees of its images
    mask: Choice = _DENSE  # which weights live
    growth: Choice = _NONE  # widths over the epochs; `hidden` is those at the end
    extra: Choice = _NONE  # what stands in the training set beside the data set's images
    subset: Choice = _FIRST  # which `n_train` images of the training split are trained on, the same for all seeds
    target: Choice = _CLASSES  # what is told apart: classes, or groups of them
    labels: Choice = _GIVEN  # what the images are said to be, drawn from the run's seed; not beside `label_noise`
    precision: Choice = _FLOAT32  # of a training step's products; evaluation, stops and measures are in full float32

    def __post_init__(self) -> None:
        for name in SEAMS:
            if isinstance(value := getattr(self, name), str):  # a choice without options, by its name
                object.__setattr__(self, name, Choice(value))


SEAMS: dict[str, Registry[Any]] = {
    "dataset": DATASETS,
    "model": MODELS,
    "optimizer": OPTIMIZERS,
    "objective": OBJECTIVES,
    "update": UPDATES,
    "schedule": SCHEDULES,
    "batch": BATCHES,
    "mask": MASKS,
    "growth": GROWTHS,
    "extra": EXTRAS,
    "subset": SUBSETS,
    "target": TARGETS,
    "labels": LABELS,
    "precision": PRECISIONS,
}
FIELDS = {field.name: field for field in dataclasses.fields(RunConfig)}
# What every config.json and every row has; a field that came later may be missing in an older one.
FIRST = (
    "dataset", "n_train", "label_noise", "model", "hidden", "init", "init_gain", "optimizer", "lr", "momentum",
    "weight_decay", "batch_size", "loss", "stops", "max_epochs", "checks_per_epoch", "seed",
)  # fmt: skip

# What may differ between the networks of one stack; the rest, and the names of the seams, is the shape of a shard.
STACKED = (
    "lr",
    "lr_factor",
    "momentum",
    "weight_decay",
    "seed",
    "init",
    "init_gain",
    "label_noise",
    "stops",
    "max_epochs",
)


def allowed_text(name: str) -> str:
    """What a field may be, in words, e.g. "0 <= momentum < 1"."""
    if name in SEAMS:
        return ", ".join(SEAMS[name])
    return RULES[name][1].removeprefix("allowed: ")


def checked_value(name: Any, value: Any) -> Any:
    """One field's value in its declared type. Raises ConfigError: unknown field, wrong type, or value out of range."""
    if name not in FIELDS:
        raise ConfigError(str(name), value, "unknown field, allowed: " + ", ".join(FIELDS))
    if name in SEAMS:
        return SEAMS[name].choose(value)
    return converted(name, str(FIELDS[name].type), value)


def config_from_dict(values: Mapping[str, Any]) -> RunConfig:
    """A checked RunConfig. Raises ConfigError for an unknown field, a wrong type or a value out of range."""
    config = RunConfig(**{name: checked_value(name, value) for name, value in values.items()})
    _check_together(config)
    return config


def n_images(config: RunConfig) -> int:
    """How many of the data set's own images the run is trained on."""
    return config.n_train or known(config.dataset).n_train - config.n_validation


def class_groups(config: RunConfig) -> Groups:
    """What the run's target makes of each class of its data set."""
    return groups(config.target, known(config.dataset).n_classes)


def n_classes(config: RunConfig) -> int:
    """How many classes the run tells apart."""
    return max(class_groups(config)) + 1


def _check_data(config: RunConfig) -> None:
    spec, held = known(config.dataset), config.n_validation
    if config.n_train + held > spec.n_train or held == spec.n_train:
        text = f"{config.dataset} has {spec.n_train} training images"
        if not held:
            raise ConfigError("n_train", config.n_train, text)
        raise ConfigError(
            "n_validation", held, f"{text}, allowed: some left, {config.n_train or 1} at least, to train on"
        )
    if config.batch_size > n_images(config):
        raise ConfigError("batch_size", config.batch_size, f"allowed: at most the {n_images(config)} training images")
    n = n_classes(config)
    if n_outputs(config.loss, n) == 1 and n != 2:
        raise ConfigError("loss", config.loss, f"is of two classes, allowed with the {n} of this run: target binary")


def _check_together(config: RunConfig) -> None:
    _check_data(config)
    spec = known(config.dataset)
    name = config.optimizer.name
    own, kept = OPTIMIZERS[name], UPDATES[config.update.name].buffers
    if config.momentum and own.momentum == "none":
        raise ConfigError("momentum", config.momentum, f"allowed with {name}: 0 (it does not read it)")
    if not config.momentum and own.momentum == "needed":
        raise ConfigError("momentum", config.momentum, f"allowed with {name}: 0 < momentum < 1")
    if both := sorted({*own.like, *own.counters} & {*kept.like, *kept.counters}):
        allowed = f"allowed with {name}: buffers of other names than its own"
        raise ConfigError("update", config.update.name, f"keeps {', '.join(both)}, {allowed}")
    run = {**vars(config), "shape": spec.shape}
    for field, registry in SEAMS.items():
        registry.check(getattr(config, field), run)
    if config.growth != _NONE and config.mask != _DENSE:
        raise ConfigError("growth", config.growth.name, f"allowed with mask {config.mask.name}: none")
    chosen, widths = MODELS[config.model.name], RunConfig.hidden  # the default
    if config.hidden != widths and not chosen.reads_hidden:
        text = f"is not read by model {config.model.name}, allowed with it: the default, {list(widths)}"
        raise ConfigError("hidden", list(config.hidden), text)
    if len(spec.shape) < chosen.min_dimensions:
        text = f"needs images with channels; {config.dataset} has shape {spec.shape}"
        raise ConfigError("model", config.model.name, text)
    for stop in map(Stop.read, config.stops):
        if not stop.is_known:
            raise ConfigError("stops", stop.text, STOP_ALLOWED)
        if stop.kind == "epoch" and stop.value > config.max_epochs:
            raise ConfigError("stops", stop.text, f"allowed: at most max_epochs = {config.max_epochs}")


def config_to_dict(config: RunConfig) -> dict[str, Any]:
    """All fields as JSON values, a choice with all its options: what config.json holds."""
    values: dict[str, Any] = {name: getattr(config, name) for name in FIELDS}
    return {name: _json(name, value) for name, value in values.items()}


def _json(name: str, value: Any) -> Any:
    if name in SEAMS:
        options = SEAMS[name].options(value)
        return {value.name: options} if options else value.name
    return list(value) if isinstance(value, tuple) else value


def completed(found: Mapping[str, Any]) -> dict[str, Any]:
    """The content of an older config.json, with what came later, fields and options, at its defaults."""
    values = {**{name: field.default for name, field in FIELDS.items() if name not in FIRST}, **found}
    return {name: _json(name, SEAMS[name].choose(v)) if name in SEAMS else v for name, v in values.items()}


def run_key(config: RunConfig) -> str:
    """First 12 hex digits of SHA-256 over the canonical JSON of the fields that differ from their defaults.

    Of a choice those options count that differ from theirs, so that an option that comes later moves no key.
    """
    changed: dict[str, Any] = {}
    for name, field in FIELDS.items():
        value = getattr(config, name)
        if value != field.default:
            changed[name] = _short(value) if name in SEAMS else _json(name, value)
    text = json.dumps(changed, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _short(choice: Choice) -> Any:
    return {choice.name: dict(choice.options)} if choice.options else choice.name
