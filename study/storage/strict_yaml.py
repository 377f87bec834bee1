"""YAML that a person wrote: read strictly, so that a slip of the pen is one line and not another experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class YamlError(ValueError):
    """A file that holds no mapping: one line `<field>: <value>: <problem>`, without the file's name."""


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice, which YAML would silently let the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise YamlError(f"{key}: 'line {node.start_mark.line + 1}': is given twice, allowed: once")
        return super().construct_mapping(node, deep)


def read_mapping(path: Path, allowed: str) -> dict[Any, Any]:
    """The mapping in a file; `allowed` ends a refusal, e.g. "field: value lines". Raises YamlError."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise YamlError(f"file: {path.name!r}: cannot be read ({reason}), allowed: {allowed}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "file"
        problem = getattr(error, "problem", None) or "not YAML"
        raise YamlError(f"yaml: {where!r}: broken YAML ({problem}), allowed: {allowed}") from None
    except ValueError as error:  # a date with 13 months
        if isinstance(error, YamlError):
            raise
        raise YamlError(f"yaml: {str(error)!r}: broken YAML, allowed: {allowed}") from None
    if not isinstance(content, dict):
        raise YamlError(f"yaml: {type(content).__name__!r}: allowed: {allowed}")
    return content
