"""Measures of one trained network. A measure is a function of a MeasureContext, registered by its decorator.

It touches no files, no wandb, no global RNG, and leaves gradients, mode and parameters as it found them. Each is
oriented so that larger should go with a larger generalization gap.
"""

from study.measures.registry import MEASURES as MEASURES
from study.measures.registry import MeasureContext as MeasureContext
from study.measures.registry import compute as compute

# isort: split
from study.measures import curvature as _curvature  # noqa: F401 - registers its measures
from study.measures import norm as _norm  # noqa: F401
from study.measures import outputs as _margin  # noqa: F401
from study.measures import pac_bayes as _perturbation  # noqa: F401
