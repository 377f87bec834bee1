"""What is said where, and when: a signal in the midst of a line asks to stop, and breaks nothing."""

import io
import signal
import sys

import pytest

from study.display import Display


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
