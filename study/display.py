"""Progress of a study in the terminal, a polite stop on Ctrl-C, and a quiet end where nobody reads on.

Uses rich where it is installed.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

_SPELLED = {
    "τ": "tau", "ψ": "psi", "Ψ": "Psi", "ρ": "rho", "κ": "kappa", "λ": "lambda", "−": "-", "×": "x", "∞": "inf",
    "²": "^2", "–": "-", "…": "...", "≥": ">=", "≤": "<=",
}  # fmt: skip


def duration(seconds: float) -> str:
    """Seconds in the units one thinks in: 42 s, 10 min, 2.5 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def to_the_end(main: Callable[[], int]) -> int:
    """The exit status of a command line; without a word 130 at Ctrl-C, 141 where its reader has left (`| head`).

    Signs that the terminal's encoding has not got are spelled out (τ as tau), or become a question mark.
    """
    codecs.register_error("spelled", _spelled)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="spelled")
    try:
        try:
            return main()
        finally:  # what is still buffered fails here, not when Python has ended
            for stream in filter(None, (sys.stdout, sys.stderr)):  # None: closed by the shell
                stream.flush()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        status = 128 + signal.SIGPIPE
    except OSError as error:  # nothing but the output itself: commands take care of their own files
        if error.errno != errno.ENOSPC:
            raise
        print(f"error: {error.strerror}", file=sys.stderr)
        status = 2
    for stream in filter(None, (sys.stdout, sys.stderr)):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return status


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """What is written in place of the first character that cannot be encoded, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return _SPELLED.get(error.object[error.start], "?"), error.start + 1


def at_once(line: str, descriptor: int) -> None:
    """Write past Python's buffers, which a signal's handler may not enter twice; a full disk loses the line."""
    with contextlib.suppress(OSError):
        os.write(descriptor, f"{line}\n".encode())


class StoppedWaiting(ValueError):
    """Asked to stop, or out of time, while another process held the runs."""


def every_few_seconds(seconds: float = 5.0, after: float = 0.0) -> Callable[[str], None]:
    """Shows lines of progress on stderr, none before `after` seconds or sooner than `seconds` after another.

    On a terminal each takes the place of the one before, and an empty one clears it.
    """
    last, start = -math.inf, time.monotonic()

    def said(line: str) -> None:
        nonlocal last
        if sys.stderr is None or time.monotonic() - start < after:
            return
        if sys.stderr.isatty():
            print(f"\r{line[:100]:<100}", end="\r", file=sys.stderr, flush=True)
        elif line and time.monotonic() - last > seconds:
            last = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    return said


class Display:
    """Called with the events of `run_shard`; shows runs trained, measures taken and the epoch that is running.

    The first Ctrl-C (or SIGTERM) asks to stop at the next epoch end, where everything is saved; the second one stops
    at once, which loses at most the epochs since the last checkpoint. `minutes` after its making it asks to stop too:
    earlier by the longest time between two questions, so that it is not the limit which comes in the midst of an epoch.
    """

    def __init__(self, n_runs: int, minutes: float | None = None) -> None:
        self.n_runs, self.trained, self.measured = n_runs, 0, 0
        self._stop = self.out_of_time = False
        self._end = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self._asked, self._longest = 0.0, 0.0
        self._waits_for = ""
        self._shown = 0.0
        self._bar: Any = None
        with contextlib.suppress(ImportError):
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            if sys.stderr.isatty():
                columns = (TextColumn("{task.description:<32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
                from rich.console import Console

                self._bar = Progress(*columns, console=Console(stderr=True))
                self._task = self._bar.add_task("training", total=n_runs)

    def __enter__(self) -> Display:
        self._old = {s: signal.signal(s, self._on_signal) for s in (signal.SIGINT, signal.SIGTERM)}
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        if self._bar:
            self._bar.stop()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True
        if sys.stderr is not None:  # closed by the shell: then 2 is another file
            at_once("stopping at the next epoch end (again: at once)", 2)

    def stop_requested(self) -> bool:
        """Whether a signal asked to stop, or the time is over."""
        now = time.monotonic()
        if self._asked:
            self._longest = max(self._longest, now - self._asked)
        self._asked = now
        self.out_of_time = self.out_of_time or now + self._longest > self._end
        return self._stop or self.out_of_time

    def waiting(self, owner: str) -> None:
        """Say once that another process holds these runs; a signal ends the wait."""
        if self.stop_requested():
            raise StoppedWaiting(f"runs: held by {owner}: stopped while waiting for it")
        if owner != self._waits_for:
            self._waits_for = owner
            print(f"waiting: these runs are held by {owner}", file=sys.stderr)

    def __call__(self, event: dict[str, Any]) -> None:
        """Take one event of `run_shard`."""
        text = "measuring"
        if event["kind"] == "epoch":
            text = f"epoch {event['epoch']}, {event['running']} of {event['of']} networks"
        elif event["kind"] == "note":
            print(event["text"], file=sys.stderr, flush=True)
            return
        elif event["kind"] == "trained":
            self.trained += event["n"]
        else:
            self.measured += event["n"]
        if self._bar:
            self._bar.update(self._task, completed=self.trained, description=text)
        elif time.monotonic() - self._shown > 10:
            self._shown = time.monotonic()
            line = f"{self.trained} of {self.n_runs} runs trained, {self.measured} measures taken; {text}"
            print(line, file=sys.stderr, flush=True)
