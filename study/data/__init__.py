"""What is learned from: data sets, their subsets, label noise, extra sets.

To add a data set, add a file that registers it with `dataset`: every module here that is not named below is imported
and may register some, so no other file needs to know it. None may import torch before it loads.
"""

import sys

from study.choice import import_entries

GROUND = (
    "dataset",
    "extra",
    "fetch",
    "files",
    "labels",
    "pixels",
    "shift",
    "subset",
    "target",
    "vision",
)  # what data sets are made of
import_entries(sys.modules[__name__], skip=GROUND)
