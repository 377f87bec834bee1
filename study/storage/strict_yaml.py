"""YAML that a person wrote: read strictly, so that a slip of the pen is one line and not another experiment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml


class YamlError(ValueError):
    """A file that holds no mapping: one line `<field>: <value>: <problem>`, without the file's name."""


_MERGE = "tag:yaml.org,2002:merge"  # the key <<, whose mapping is merged in; what stands beside it wins


class _Loader(yaml.SafeLoader):
    """SafeLoader without what YAML does in silence: the last of two equal keys wins, 010 is 8, and 1:30 is 90."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = []
        for key, _ in node.value:
            name = "<<" if key.tag == _MERGE else self.construct_object(key, deep=True)
            if name in seen:
                raise YamlError(f"{name}: 'line {key.start_mark.line + 1}': is given twice, allowed: once")
            seen.append(name)
        return node

    def plain_number(self, node: yaml.ScalarNode) -> int | float:
        """A number as a person means it. Raises YamlError for one with a colon, or an integer with a leading 0."""
        line = node.start_mark.line + 1
        if ":" in node.value:
            raise YamlError(
                f"yaml: {node.value!r}: is a number in base 60 (line {line}), allowed: quotes around a text"
            )
        if node.tag.endswith("float"):
            return float(self.construct_yaml_float(node))
        if re.fullmatch(r"[-+]?0[0-9_]+", node.value):
            raise YamlError(f"yaml: {node.value!r}: is an octal number (line {line}), allowed: no 0 in front")
        return int(self.construct_yaml_int(node))


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.plain_number)


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
        if "'\\t'" in problem:
            problem = "a tab; YAML wants spaces"
        raise YamlError(f"yaml: {where!r}: broken YAML ({problem}), allowed: {allowed}") from None
    except ValueError as error:  # a date with 13 months
        if isinstance(error, YamlError):
            raise
        raise YamlError(f"yaml: {str(error)!r}: broken YAML, allowed: {allowed}") from None
    if not isinstance(content, dict):
        said = "is empty" if content is None else f"is no mapping but a {type(content).__name__}"
        raise YamlError(f"file: {path.name!r}: {said}, allowed: {allowed}")
    return content
