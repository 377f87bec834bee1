"""models.yaml: which networks, how they are built and loaded, on what data they are measured, and what is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.choice import ConfigError, kind_of
from study.data.dataset import DATASETS
from study.grid import read_measures
from study.ledger.networks import Network, read_networks
from study.loss import LOSSES
from study.measures import is_of_history
from study.storage.strict_yaml import YamlError, read_mapping
from study.study_file import Section, StudyFileError

SECTIONS = {
    "build": Section((str,), "file.py:function", None, "`build(hp)` gives a network of these hyperparameters"),
    "data": Section((str,), "file.py:function or a data set's name", None, "training and test set; see below"),
    "networks": Section((str, list), "a folder, or a list", None, "checkpoints: a folder's *.pt and *.pth, or a list"),
    "hyperparameters": Section(
        (str,), "a CSV or a regular expression", "", "by a column `checkpoint`, or by named groups in each file's name"
    ),
    "initial": Section(
        (str,), "a path with {name}", "", "weights before training, {name} is the checkpoint's without its suffix"
    ),
    "measures": Section((list,), "[labels]", None, "what is measured; one's own is file.py:function"),
    "loss": Section((str,), "a loss", "cross_entropy", "that the networks were trained with"),
    "n_train": Section((int,), "an integer >= 0", 0, "of the training set, the first so many alone; 0: all"),
    "gap": Section((str,), "error or loss", "error", "which one is `gen.gap`; the other is `gap.<its name>`"),
    "converged": Section((int, float), "a number > 0", None, "training loss up to which a network counts as trained"),
}
OF_HISTORY = "of the curve of training, of which a checkpoint says nothing"
_NEEDED = ("build", "data", "networks", "measures")


@dataclass(frozen=True)
class LedgerFile:
    """What a models.yaml asks for, checked as far as it can be without torch; `name` is the file's own.

    `build` and `data` are as written; a path in them starts at `path`'s folder. `left_out`: the measures that no
    checkpoint has, of the curve of training.
    """

    path: Path
    build: str
    data: str
    networks: tuple[Network, ...]
    measures: tuple[str, ...]
    left_out: tuple[str, ...]
    loss: str
    n_train: int
    gap: str
    converged: float | None

    @property
    def name(self) -> str:
        """The ledger's name, of its folder in results/."""
        return self.path.stem

    @property
    def names(self) -> list[str]:
        """The hyperparameters, as every network has them, without the seed."""
        return [name for name in self.networks[0].values if name != "seed"]


def read_ledger_file(path: Path) -> LedgerFile:
    """Read and check a models.yaml. Raises StudyFileError, one line: file, field, value, what is allowed."""
    try:
        content = read_mapping(path, "a mapping with " + ", ".join(SECTIONS))
        for name, value in content.items():
            _check(name, value)
        for name in _NEEDED:
            if name not in content:
                raise ConfigError(name, None, f"is missing, allowed: {SECTIONS[name].form}")
        given = {name: content.get(name, section.default) for name, section in SECTIONS.items()}
        for name, test, allowed in _rules():
            if not test(given[name]):
                raise ConfigError(name, given[name], f"allowed: {allowed}")
        folder = path.parent
        networks = read_networks(given.pop("networks"), given.pop("hyperparameters"), given.pop("initial"), folder)
        asked = read_measures(given.pop("measures"), folder)
        left_out = tuple(label for label in asked if is_of_history(label))
        measures = tuple(label for label in asked if label not in left_out)
        if not measures:
            raise ConfigError("measures", ", ".join(asked), f"{OF_HISTORY}, allowed beside it: any other")
        return LedgerFile(path, networks=networks, measures=measures, left_out=left_out, **given)
    except (YamlError, ConfigError) as error:
        raise StudyFileError(path, error) from None


def _check(name: Any, value: Any) -> None:
    if name not in SECTIONS:
        raise ConfigError(str(name), value, "unknown section, allowed: " + ", ".join(SECTIONS))
    if not isinstance(value, SECTIONS[name].types) or isinstance(value, bool):
        raise ConfigError(name, value, f"is {kind_of(value)}, allowed: {SECTIONS[name].form}")


def _rules() -> list[tuple[str, Callable[[Any], bool], str]]:
    return [
        ("build", lambda v: ".py:" in v, SECTIONS["build"].form),
        ("data", lambda v: ".py:" in v or v in DATASETS, f"file.py:function, {', '.join(DATASETS)}"),
        ("loss", lambda v: v in LOSSES, ", ".join(LOSSES)),
        ("n_train", lambda v: v >= 0, SECTIONS["n_train"].form),
        ("gap", lambda v: v in ("error", "loss"), SECTIONS["gap"].form),
        ("converged", lambda v: v is None or v > 0, SECTIONS["converged"].form),
    ]
