"""LeNet5 (LeCun et al. 1998) in the form of the source papers' code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.models.registry import model

if TYPE_CHECKING:
    from torch import nn


@model("lenet5", min_dimensions=3, reads_hidden=False)
def lenet5(shape: tuple[int, ...], n_classes: int, hidden: tuple[int, ...]) -> nn.Module:
    """LeNet5 with ReLU and max-pooling, as in the source papers' code: conv 6 and 16 of 5x5, then 120, 84, classes.

    Pooling stands before ReLU: the two commute to the bit, and ReLU then sees a quarter of the values.
    """
    from collections import OrderedDict

    from torch import nn

    from study.models.pooling import HalvingPool

    channels, height, width = shape
    side = [((n - 4) // 2 - 4) // 2 for n in (height, width)]
    features = 16 * side[0] * side[1]
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 6, 5),
            pool1=HalvingPool(),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(6, 16, 5),
            pool2=HalvingPool(),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(features, 120),
            relu3=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc3=nn.Linear(84, n_classes),
        )
    )
