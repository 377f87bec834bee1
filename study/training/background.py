"""Work beside the training loop: one piece at a time, on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """`start` a piece of work where none is under way (`busy`); `wait` for it. What it raised is raised by either."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether a piece of work is under way."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, work: Callable[[], None]) -> None:
        """Begin, after the piece before has ended."""
        self.wait()

        def run() -> None:
            try:
                work()
            except BaseException as error:
                self._error = error

        self._thread = threading.Thread(target=run, daemon=True, name="save")
        self._thread.start()

    def wait(self) -> None:
        """Until it has ended."""
        self.join()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def join(self) -> None:
        """`wait` where an error is on its way already: what the work raised is left out."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
