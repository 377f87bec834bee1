"""Each measure of one network before and after every change, as rows.

In float64, on the first images of the training set: whether a measure is invariant does not depend on how many. The
initial weights stay those of the run, so a distance from them is one from where training began.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from study.audit.changes import Change
from study.config import RunConfig, run_key
from study.measures import MeasureContext, attempt
from study.storage.atomic import read_tensors
from study.storage.paths import RunPaths
from study.storage.rows import Row
from study.training.start import trained_model, training_data, training_labels, with_own_labels
from study.transforms.equivalent import FOLDING
from study.transforms.rescaling import function_difference

TOLERANCE = 1e-9  # of the largest output, in float64; what was seen is below 1e-14
ROUNDING = 1e-6  # of a measure's value: an eigenvalue's iteration ends at some 1e-8
STANDARD_ERRORS = 4  # of the difference of two sampled values

Values = dict[str, tuple[float, float]]  # value and standard error by label


def context_of(config: RunConfig, runs_root: Path, n_images: int) -> MeasureContext:
    """A finished run's network at its last stop, in float64, with the first `n_images` that it was trained on."""
    paths = RunPaths(runs_root, run_key(config))
    model = trained_model(config, paths.stop(config.stops[-1]).weights).double()
    data = training_data(config)
    labels = training_labels(config, data.train_y)[:n_images]
    initial = {name: tensor.double() for name, tensor in read_tensors(paths.init).items()}
    x = data.train_x[:n_images].double()
    held_out = data.test_x[:n_images].double(), with_own_labels(config, data).test_y[:n_images]
    return MeasureContext(model, initial, x, labels, config.loss, paths.key, held_out=held_out)


def values(labels: Sequence[str], context: MeasureContext) -> Values:
    """Value and standard error (0: not sampled) of each measure; NaN where the network has no such value."""
    found = {}
    for label in labels:
        stored, missing = attempt(label, context)
        found[label] = (math.nan if missing else stored["value"], stored.get("standard_error", 0.0))
    return found


def rows(
    context: MeasureContext, every: Sequence[Change], before: Values, refused: list[str],
    progress: Callable[[int, int], None],
) -> Iterator[Row]:  # fmt: skip
    """A row a measure of `before` and change of `every`: measure, transform, place, factor, before, ...

    `tolerance` is the relative change that rounding and sampling make. A change after which outputs differ by more
    than TOLERANCE has no rows: `refused` gets a line about it. `progress(done, total)` is called between changes.
    """
    for done, change in enumerate(every):
        progress(done, len(every))
        other = changed(context, change)
        try:
            difference = function_difference(context.logits, other.logits, TOLERANCE)
        except ValueError as error:
            refused.append(f"{change.words}: {error}")
            continue
        after = values(list(before), other)
        for label in before:
            row = {"measure": label, "transform": change.transform, "place": change.place, "factor": change.factor}
            yield {**row, **compared(before[label], after[label]), "output_difference": repr(difference)}
    progress(len(every), len(every))


def changed(context: MeasureContext, change: Change) -> MeasureContext:
    """The same of the changed network: all work is done anew."""
    initial = context.initial
    if change.transform == FOLDING:  # the start has other parameters then, too
        initial = {name: p.detach() for name, p in context.folded_initial.named_parameters()}
    return replace(context, model=change.apply(context.model), initial=initial)


def compared(before: tuple[float, float], after: tuple[float, float]) -> Row:
    """Values before and after as text, empty where missing, with their relative change and what counts as none."""
    (old, old_error), (new, new_error) = before, after
    difference, sampled = new - old, STANDARD_ERRORS * math.hypot(old_error, new_error)
    if old == 0:
        relative, tolerance = (math.copysign(math.inf, difference) if difference else 0.0), ROUNDING
    else:
        relative, tolerance = difference / abs(old), max(ROUNDING, sampled / abs(old))
    texts = {"before": old, "after": new, "relative_change": relative, "tolerance": tolerance}
    return {name: "" if math.isnan(value) else repr(float(value)) for name, value in texts.items()}
