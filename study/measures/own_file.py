"""What a person's Python file says of a measure in it, read without running it: function, options, source."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.choice import ConfigError

OWN_ALLOWED = 'allowed: file.py:function, or in quotes "file.py:function(option=value,option=value)"'
_FORM = re.compile(r"(?P<file>[^:]+\.py):(?P<function>[A-Za-z_][A-Za-z0-9_]*)(?:\((?P<options>[^()]*)\))?")


@dataclass(frozen=True)
class Function:
    """A function in a file, its options that differ from their defaults, and the whole file's source."""

    path: Path
    name: str
    options: Mapping[str, str | int | float]
    source: str


def read_function(text: str, folder: Path) -> Function:
    """From `file.py:function(option=value)`, a relative path starting at `folder`. Raises ConfigError, one line."""
    match = _FORM.fullmatch(text)
    if not match:
        raise ConfigError("measures", text, OWN_ALLOWED)
    path, name = (folder / match["file"]).resolve(), match["function"]
    source, known = _parsed(text, path)
    if name not in known:
        raise ConfigError("measures", text, f"{path} has no such function, allowed: {', '.join(known) or 'none'}")
    return Function(path, name, _options(text, known[name], match["options"] or ""), source)


def _parsed(text: str, path: Path) -> tuple[str, dict[str, ast.FunctionDef]]:
    """A file's source and its functions by name, without running it."""
    try:
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise ConfigError("measures", text, f"{path} cannot be read ({reason}), {OWN_ALLOWED}") from None
    except (SyntaxError, ValueError) as error:
        line = f" line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ConfigError("measures", text, f"{path}{line}: {getattr(error, 'msg', error)}, allowed: Python") from None
    return source, {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def _options(text: str, function: ast.FunctionDef, given: str) -> dict[str, str | int | float]:
    """The options given, in the types of their defaults, without those that are the default."""
    if function.decorator_list:
        raise ConfigError(
            "measures", text, "is decorated, allowed: the function alone (@measure is for study/measures/)"
        )
    defaults = _defaults(text, function)
    options = {}
    for piece in filter(None, given.split(",")):
        name, _, value = (part.strip() for part in piece.partition("="))
        if name not in defaults or name in options:
            raise ConfigError("measures", text, f"option {name}: allowed, each once: {', '.join(defaults) or 'none'}")
        kind = type(defaults[name])
        try:
            options[name] = kind(value)
        except ValueError:
            raise ConfigError("measures", text, f"option {name}: {value!r}: allowed: a {kind.__name__}") from None
        if not re.fullmatch(r"[A-Za-z0-9_.\-]+", str(options[name])) or str(options[name]) in ("nan", "inf", "-inf"):
            raise ConfigError(
                "measures", text, f"option {name}: {value!r}: allowed: a number, or letters, digits, _ . -"
            )
    return {name: value for name, value in options.items() if value != defaults[name]}


def _defaults(text: str, function: ast.FunctionDef) -> dict[str, Any]:
    """The parameters behind the first with their defaults."""
    allowed = "allowed: def f(ctx, option=default), each default a number or a word"
    places = [*function.args.posonlyargs, *function.args.args]
    filled = [None] * (len(places) - len(function.args.defaults)) + [*function.args.defaults]
    pairs = [*zip(places, filled, strict=True), *zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)]
    if not places or filled[0] is not None:
        raise ConfigError("measures", text, f"takes no context, {allowed}")
    found = {}
    for place, node in pairs[1:]:
        try:
            value = ast.literal_eval(node) if node is not None else None
        except ValueError:
            value = None
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise ConfigError("measures", text, f"option {place.arg} has no such default, {allowed}")
        found[place.arg] = value
    return found
