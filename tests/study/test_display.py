"""What is said where, and when: a signal in the midst of a line asks to stop, and breaks nothing."""

import io
import signal
import sys

import pytest

from study import display
from study.display import Display, every_few_seconds


class Interrupted(io.RawIOBase):
    """A terminal at which a signal comes while the first line is being written."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.quiet = False

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # of any buffer
        if not self.quiet:
            self.quiet = True
            signal.raise_signal(signal.SIGTERM)
        self.lines.append(bytes(data))
        return len(data)


def test_a_signal_while_a_line_is_written(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    terminal = Interrupted()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BufferedWriter(terminal), line_buffering=True))
    with Display(1) as display:
        assert not display.stop_requested()
        display({"kind": "note", "text": "a line"})
        assert display.stop_requested()
    assert terminal.lines == [b"a line\n"]
    assert capfd.readouterr().err == "stopping at the next epoch end (again: at once)\n"


def test_nothing_is_said_where_stderr_is_closed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Display(1) as display:
        monkeypatch.setattr(sys, "stderr", None)
        signal.raise_signal(signal.SIGTERM)
        assert display.stop_requested()
    assert capfd.readouterr().err == ""


def test_progress_is_said_now_and_then_and_not_of_what_is_quick(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(display.time, "monotonic", lambda: now)
    said = every_few_seconds(5, after=2)
    for at in (100, 101, 102, 104, 106.9, 107.1, 120):
        now = at
        said(f"at {at}")
    said("")
    assert capsys.readouterr().err == "at 102\nat 107.1\nat 120\n"


def test_on_a_terminal_progress_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    said = every_few_seconds()
    for line in ("a long line", "short", ""):
        said(line)
    shown = [part.rstrip() for part in terminal.getvalue().split("\r") if part]
    assert shown == ["a long line", "short", ""] and terminal.getvalue().endswith(" " * 100 + "\r")
