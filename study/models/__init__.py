"""Networks and their initial weights.

To add an architecture, add a file that registers it with `model`: every module here that is not named below is imported
and may register some, so no other file needs to know it. None may import torch before it builds.
"""

import sys

from study.choice import import_entries

# What architectures are made of.
GROUND = ("activation", "attention", "init", "norm", "pooled", "pooling", "registry", "residual")
import_entries(sys.modules[__name__], skip=GROUND)
