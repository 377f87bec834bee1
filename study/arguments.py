"""The parser of every command line: what it refuses is one line, as any other mistake of a user."""

from __future__ import annotations

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """argparse, whose usage takes several lines before it says what is wrong; so is the parser of a command."""

    def error(self, message: str) -> NoReturn:
        """End with exit status 2, and one line: the argument, the value, what is allowed or where that stands."""
        self.exit(2, f"error: {message} ({self.prog} --help says what is allowed)\n")
