"""A function from a person's own file, `my_file.py:build`: run where it stands, each mistake one line."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from study.choice import ConfigError
from study.data.vision import torchvision


@dataclass(frozen=True)
class OwnFunction:
    """A function in a file: `field` is the section that names it, `text` as it does, `code` a hash of the file."""

    field: str
    text: str
    path: Path
    function: Callable[..., Any]
    code: str

    def __call__(self, *arguments: Any) -> Any:
        """What it gives. Raises ConfigError with the line of the file that went wrong."""
        with _mistakes(self.field, self.text, self.path), _beside(self.path):
            return self.function(*arguments)


def own_function(field: str, text: str, folder: Path) -> OwnFunction:
    """From `file.py:function`, a relative path starting at `folder`, whose modules it may import.

    Raises ConfigError where the file cannot be read or run, or has no such function.
    """
    file, _, name = text.rpartition(":")
    path = (folder / file).resolve()
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigError(field, text, f"{path} cannot be read ({error.strerror}), allowed: file.py:function") from None
    with _mistakes(field, text, path):
        if b"torchvision" in source:
            torchvision()  # its import beside a CPU torch
        module = _module(path, source)
    function = getattr(module, name, None)
    if not callable(function):
        known = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
        raise ConfigError(field, text, f"{path} has no such function, allowed: {', '.join(known) or 'none'}")
    return OwnFunction(field, text, path, function, hashlib.sha256(source).hexdigest()[:12])


@functools.lru_cache(maxsize=8)
def _module(path: Path, source: bytes) -> ModuleType:
    """The file's code, run once; as when it is run alone, modules beside it can be imported."""
    name = f"own_{path.stem}_{hashlib.sha256(bytes(path) + source).hexdigest()[:12]}"
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses in it ask for it
    with _beside(path):
        exec(compile(source, path, "exec"), module.__dict__)
    return module


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Modules in a file's folder can be imported."""
    sys.path.insert(0, folder := str(path.parent))
    try:
        yield
    finally:
        sys.path.remove(folder)


@contextlib.contextmanager
def _mistakes(field: str, text: str, path: Path) -> Iterator[None]:
    """What a person's code raises, as one line; ConfigErrors and what ends the program are let through."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        where = f"line {line}: " if line else ""
        said = " ".join(str(error).split())[:300]
        raise ConfigError(field, text, f"{where}{type(error).__name__}: {said}; allowed: code that runs") from error
