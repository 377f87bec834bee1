"""What torch's operations hold at once, counted from outside: a CPU's allocator does not say."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


class _Held(TorchDispatchMode):
    """Counts the bytes of what operations have made and nobody has let go."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for storage in _storages((args, kwargs)):
            self._known.setdefault(storage, True)
        made = func(*args, **(kwargs or {}))
        for storage in _storages(made):
            if storage not in self._known:
                self._known[storage] = True
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._let_go, storage.nbytes())
        return made

    def _let_go(self, n: int) -> None:
        self.now -= n


def _storages(values: Any) -> list[torch.UntypedStorage]:
    return [value.untyped_storage() for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


def peak_bytes(work: Callable[[], None]) -> int:
    """The most that a piece of work holds at once, beyond what it was given."""
    with _Held() as held:
        work()
    return held.peak
