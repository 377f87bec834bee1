"""What picking by a measure costs: regret of the network that it ranks first, hits of its best fifth, and baselines."""

from __future__ import annotations

import pandas as pd

from analysis.columns import at_stop, configurations
from analysis.exclude import exclude
from analysis.selection import with_last_layer
from analysis.statistics.association.coefficients import RESAMPLES
from analysis.statistics.grid.settings import LIMIT
from analysis.statistics.selection import DRAWS, UNITS, regretted, selection
from analysis.stopwise import lacking
from analysis.vocabulary import at_words

TITLE = "Regret and hits of picking by each measure, at the main stop"
METHOD = (
    "Picked: the network, or the configuration by the means over its seeds, with the smallest value. Regret: its "
    "target less the smallest there is, in the target's unit; normalized: over that of a random choice, 0 the best and "
    "1 chance. Hits: the share of the measure's best fifth that is in the target's best fifth. In brackets 95% "
    "intervals for new levels (percentiles of all ways to draw the levels of each axis with three or more, or of "
    "{resamples} resamples where they are over 4,096, or of one axis); those of a regret are rough, as "
    "tests/analysis/statistics/test_selection.py simulates: a smallest value is too high in resamples, and they hold "
    "it less often than they say, least where one axis has levels to draw. Oracle: "
    f"the target with Gaussian noise of that standard deviation in its unit, {DRAWS} draws. "
    "Canonical ordering: by hyperparameters alone, small batches, large learning rates, much weight decay and "
    "dropout, deep and wide first; where hyperparameters changed together oppose, chance. Random choice: expected. A "
    "measure that less than half have is n/a."
)


def build(frame: pd.DataFrame, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Columns: target, unit (what is picked), measure, n, configurations, regret, normalized_regret, hits, note.

    Every target. A study with one seed has no rows of configurations; one of more than LIMIT networks no intervals.
    """
    kept, exclusions = exclude(at_stop(frame))
    available = regretted(kept)
    if not available:
        return lacking(TITLE, "two networks with a test error, a test loss or a gap at the main stop")
    several = len(set(configurations(kept).tolist())) < len(kept)
    parts = []
    for target in available:
        for unit in UNITS if several else UNITS[:1]:
            count = resamples if len(kept) <= LIMIT else 0
            part = selection(kept, target, with_last_layer(kept), unit, resamples=count)
            part.insert(0, "unit", unit)
            part.insert(0, "target", target)
            parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    note = f"{METHOD.format(resamples=f'{resamples:,}')} {exclusions.note}"
    title = f"Regret and hits of picking by each measure{at_words(str(kept['stop'].iloc[0]))}"
    table.attrs |= {"title": title, "note": note, "decimals": 3}
    return table
