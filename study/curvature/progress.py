"""What a long call costs, said before it starts, and how far it is; on stderr, by rich where it is installed."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

Advance = Callable[[int], None]  # by so many samples
_EVERY = 10.0  # seconds between two lines where there is no bar


@contextlib.contextmanager
def shown(cost: str, n_samples: int | None) -> Iterator[Advance]:
    """Say what it costs, and show how many samples are done, of n_samples (None: not known), with the time left."""
    sys.stderr.write(f"{cost}\n")
    sys.stderr.flush()
    with contextlib.ExitStack() as stack:
        yield _bar(stack, n_samples) or _Lines(n_samples).advance


@contextlib.contextmanager
def hidden() -> Iterator[Advance]:
    """Nothing is shown."""
    yield lambda n: None


def duration(seconds: float) -> str:
    """A time for people: 8 s, 3 min, 2.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _bar(stack: contextlib.ExitStack, n_samples: int | None) -> Advance | None:
    """A bar of rich's; None where rich is not installed, or nobody watches."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        return None
    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        return None
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("samples,"), TimeRemainingColumn(), TextColumn("left"))
    bar = stack.enter_context(Progress(*columns, console=console, transient=True))
    task = bar.add_task("", total=n_samples)
    return lambda n: bar.advance(task, n)


class _Lines:
    """A line after the first samples, and then every few seconds."""

    def __init__(self, n_samples: int | None) -> None:
        self.total, self.done = n_samples, 0
        self.begun = self.last = time.monotonic()

    def advance(self, n: int) -> None:
        """Note that n more samples are done."""
        now, is_first = time.monotonic(), not self.done
        self.done += n
        if not is_first and now - self.last < _EVERY and self.done != self.total:
            return
        self.last, took = now, now - self.begun
        line = f"{self.done:,} samples in {duration(took)}"
        if self.total:
            left = duration(took / self.done * max(self.total - self.done, 0))
            line = f"{self.done:,} of {self.total:,} samples in {duration(took)}, {left} left"
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
