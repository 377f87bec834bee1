"""Would another seed say the same? How far seeds order configurations alike, by each measure and by the gap."""

from __future__ import annotations

import pandas as pd

from analysis.selection import with_last_layer
from analysis.statistics.grid.between_seeds import between_seeds
from analysis.statistics.grid.settings import LIMIT
from analysis.stopwise import stopwise

TITLE = "The order of configurations between seeds, by each measure and by the gap"
USE = "diagnostic"
METHOD = (
    "τ_b over the configurations that two seeds share, mean over pairs of seeds, by the pairs of configurations that "
    "each is of. Seed with seed: the measure of one and of the other; the gap's likewise. With the gap: measure and "
    "gap of one seed, mean over seeds. By other seeds: a network's gap and the mean gap of its configuration's other "
    "seeds: what a measure would have that tells of the configuration alone, and all of it, as far as so few seeds do. "
    "All of the networks that have the measure; without intervals."
)


def build(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns: stop, target, measure, seeds, configurations, between_seeds, with_gap, gap_between_seeds, gap_by_others.
    Nothing of a stop with more than LIMIT networks."""

    def one(kept: pd.DataFrame, target: str) -> pd.DataFrame:
        if len(kept) > LIMIT:
            return pd.DataFrame()
        table = between_seeds(kept, target, with_last_layer(kept))
        names = {"between": "between_seeds", "within": "with_gap"}
        return table.rename(columns=names | {"target_between": "gap_between_seeds", "target_others": "gap_by_others"})

    needs = f"three configurations with two seeds at one stop, and at most {LIMIT:,} networks"
    return stopwise(frame, one, TITLE, METHOD, every_target=True, needs=needs)
