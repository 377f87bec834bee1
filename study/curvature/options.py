"""Whole numbers among the options of a call, of numpy's types too."""

from __future__ import annotations

from numbers import Integral


def whole(name: str, value: object, least: int, what: str = "a whole number") -> int:
    """The value as an int; ValueError naming the option unless it is a whole number of at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} {value!r} is not {what} of at least {least}")
    return int(value)
