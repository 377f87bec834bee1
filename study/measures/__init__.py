"""Measures of one trained network. A measure is a function of a MeasureContext, registered by its decorator.

It touches no files, no wandb, no global RNG, and leaves gradients, mode and parameters as it found them. Each is
oriented so that larger should go with a larger generalization gap.
"""

from study.measures.compute import attempt as attempt
from study.measures.compute import compute as compute
from study.measures.context import MeasureContext as MeasureContext
from study.measures.naming import ALL as ALL
from study.measures.naming import PREFIX as PREFIX
from study.measures.naming import canonical as canonical
from study.measures.naming import members as members
from study.measures.one_pass import pass_seconds as pass_seconds
from study.measures.own import Own as Own
from study.measures.own import OwnMeasureError as OwnMeasureError
from study.measures.own import codes as codes
from study.measures.registry import MEASURES as MEASURES
from study.measures.registry import checks_of as checks_of
from study.measures.registry import is_of_history as is_of_history
from study.measures.registry import is_of_test as is_of_test
from study.measures.registry import is_search as is_search

# isort: split
# Each registers its measures, in the order in which they are listed.
from study.measures.families import calibration as _calibration  # noqa: F401
from study.measures.families import features as _features  # noqa: F401
from study.measures.families import flatness as _flatness  # noqa: F401
from study.measures.families import gradient as _gradient  # noqa: F401
from study.measures.families import hessian as _hessian  # noqa: F401
from study.measures.families import history as _history  # noqa: F401
from study.measures.families import invariant as _invariant  # noqa: F401
from study.measures.families import norm as _norm  # noqa: F401
from study.measures.families import operator_norm as _operator_norm  # noqa: F401
from study.measures.families import outputs as _outputs  # noqa: F401
from study.measures.families import pac_bayes as _pac_bayes  # noqa: F401
from study.measures.families import path as _path  # noqa: F401
from study.measures.families import sharpness as _sharpness  # noqa: F401
from study.measures.families import spectral as _spectral  # noqa: F401
from study.measures.families import spectrum as _spectrum  # noqa: F401
from study.measures.families import worst_case as _worst_case  # noqa: F401
