"""What held and what did not, in words: where an interval lies, and at which stops."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def side_of_zero(low: float, high: float) -> str:
    """Where an interval lies: above, holds or below zero; `without` where there is no interval."""
    if np.isnan(low) or np.isnan(high):
        return "without"
    return "above" if low > 0 else "below" if high < 0 else "holds"


def in_words(chosen: Iterable[str], every: Iterable[str]) -> str:
    """A list of stops as it stands in a sentence."""
    stops, among = list(dict.fromkeys(chosen)), list(dict.fromkeys(every))
    if not stops:
        return "no stop"
    if len(stops) == len(among):
        return "every stop" if len(stops) > 1 else stops[0]
    return " and ".join([*([", ".join(stops[:-1])] if stops[1:] else []), stops[-1]])
