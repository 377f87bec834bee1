"""A study's yaml -> its sections, with those of the file that it extends; what each section may hold is said here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.choice import kind_of
from study.config import ConfigError
from study.storage.paths import CONFIGS
from study.storage.strict_yaml import YamlError, read_mapping


@dataclass(frozen=True)
class Section:
    """A section of a study's yaml: the types it may have, in words too, its default, and what it is for."""

    types: tuple[type, ...]
    form: str
    default: Any
    meaning: str


SECTIONS = {
    "name": Section((str,), "text", None, "name of the study; can only be the file's own, which is the default"),
    "title": Section((str,), "text", None, "what plans, tables and pages call it; default: the name in words"),
    "extends": Section(
        (str,), "a name", None, "another yaml of the folder: its sections hold where this one is silent"
    ),
    "fixed": Section((dict,), "field: value", {}, "fields that all runs share"),
    "grid": Section((dict,), "field: [values]", {}, "every combination of these values is a configuration"),
    "zip": Section((dict,), "field: [values]", {}, "lists of one length, walked together: one more axis of the grid"),
    "seeds": Section((int, list), "a number or a list", 1, "n for the seeds 0 to n - 1, or the seeds themselves"),
    "exclude": Section((list,), "[{field: value}]", [], "combinations that are left out; each must match a run"),
    "measures": Section(
        (list,),
        "[labels]",
        [],
        "what is measured at every stop; at least one; a set is set:<name>, one's own file.py:function",
    ),
    "reparameterize": Section(
        (list, dict), "[transforms] or transform: [labels]", [], "measured again of networks whose weights are rescaled"
    ),
    "measured_images": Section(
        (int,),
        "an integer > 0",
        None,
        "measures are taken on the first n images that a network was trained on, losses and gaps on all; default: all",
    ),
    "shifts": Section((list,), "[shifts]", [], "test sets under these shifts, at five severities, beside the test set"),
    "shard_size": Section(
        (int,),
        "an integer > 0",
        32,
        "runs of one shape that train together, at most; `study run` on a GPU: 256 or more",
    ),
    "seconds_per_run": Section((int, float), "a number > 0", None, "measured cost of a run on one core, for the plan"),
}
FIELD_SECTIONS = ("fixed", "grid", "zip")
_OWN = ("name", "title", "extends")  # what is not taken from an extended file


class StudyFileError(ConfigError):
    """A study that cannot be run, in one line: file, field, value, what is allowed."""

    def __init__(self, path: Path, problem: object) -> None:
        ValueError.__init__(self, f"{path}: {problem}")


def read_study_file(path: str | Path) -> dict[str, Any]:
    """Every section but `extends`, in the order of SECTIONS: this file's, else the extended file's, else the default.

    Types are checked, values are not. Raises StudyFileError, naming the file that is wrong.
    """
    path = Path(path)
    content = _read(path, ())
    name = content.get("name", path.stem)
    defaults = {section: known.default for section, known in SECTIONS.items()} | {
        "name": name,
        "title": name.replace("_", " "),
    }
    return {section: content.get(section, default) for section, default in defaults.items() if section != "extends"}


def _read(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    """The sections that this file and those it extends give; `extending` led here."""
    try:
        if not path.exists():
            raise ConfigError("file", str(path), f"No such file, allowed: {_yamls(path.parent)}")
        content = read_mapping(path, "a mapping with " + ", ".join(SECTIONS))
        for name, value in content.items():
            _check(name, value, removes="extends" in content)
        if "extends" not in content:
            return content
        base = _base(path, content["extends"], extending)
    except (YamlError, ConfigError) as error:
        raise StudyFileError(path, error) from None
    inherited = _read(base, (*extending, path))
    try:
        return _merged(inherited, content, base.name)
    except ConfigError as error:
        raise StudyFileError(path, error) from None


def _yamls(folder: Path) -> str:
    """The yamls that may have been meant: those of the folder, else those of configs/."""
    there = sorted(folder.glob("*.yaml")) or sorted(CONFIGS.glob("*.yaml"))
    near = [path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path for path in there]
    return ", ".join(map(str, near)) or "a yaml that exists"


def _check(name: Any, value: Any, removes: bool) -> None:
    if name not in SECTIONS:
        raise ConfigError(str(name), value, "unknown section, allowed: " + ", ".join(SECTIONS))
    if (value is None and removes and name not in _OWN) or (
        isinstance(value, SECTIONS[name].types) and not isinstance(value, bool)
    ):
        return
    raise ConfigError(name, value, f"is {kind_of(value)}, allowed: {SECTIONS[name].form}")


def _base(path: Path, name: str, extending: tuple[Path, ...]) -> Path:
    """The file that is extended."""
    chain = [p.stem for p in (*extending, path)]
    if name in chain:
        raise ConfigError("extends", name, f"is a circle ({' > '.join([*chain, name])}), allowed: a chain that ends")
    known = sorted(p.stem for p in path.parent.glob("*.yaml") if p.stem not in chain)
    if name not in known:
        raise ConfigError("extends", name, f"is no yaml of this folder, allowed: {', '.join(known) or 'none is here'}")
    return path.with_name(f"{name}.yaml")


def _merged(base: dict[str, Any], own: dict[str, Any], base_name: str) -> dict[str, Any]:
    """`own` over `base`: mappings entry by entry, all else as a whole; null removes.

    A field that is given anew in one of fixed, grid and zip leaves the others of them.
    """
    _check_removals(base, own, base_name)
    merged = {section: value for section, value in base.items() if section not in _OWN}
    for section in FIELD_SECTIONS:
        moved = {field for other in FIELD_SECTIONS if other != section for field in own.get(other) or {}}
        if section in merged:
            merged[section] = {field: value for field, value in merged[section].items() if field not in moved}
    for section, value in own.items():
        if isinstance(value, dict) and isinstance(merged.get(section, {}), dict):
            entries = {**merged.get(section, {}), **value}
            merged[section] = {name: entry for name, entry in entries.items() if entry is not None}
        else:
            merged[section] = value
    return {section: value for section, value in merged.items() if value is not None}


def _check_removals(base: dict[str, Any], own: dict[str, Any], base_name: str) -> None:
    for section, value in own.items():
        if value is None and section not in base:
            raise ConfigError(section, None, f"removes nothing, allowed: a section that {base_name} has")
        places = FIELD_SECTIONS if section in FIELD_SECTIONS else (section,)
        known = {entry for place in places if isinstance(base.get(place), dict) for entry in base[place]}
        for name in value if isinstance(value, dict) else ():
            if value[name] is None and name not in known:
                raise ConfigError(f"{section}.{name}", None, f"removes nothing, allowed: an entry that {base_name} has")
