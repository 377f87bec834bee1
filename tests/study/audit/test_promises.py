"""A measure's docstring says what leaves its value as it is; runs on two tiny networks hold it to that, both ways."""

from __future__ import annotations

import functools
import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from study.audit.changes import Change, changes
from study.audit.rows import ROUNDING, TOLERANCE, Values, changed, compared, values
from study.measures import MEASURES, MeasureContext
from study.reference.definition import definition
from study.transforms.places import AT_PLACES
from study.transforms.rescaling import function_difference

FACTOR = "1e2"


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 5), nn.LeakyReLU(0.1), nn.Linear(5, 4))


def normed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip


def fitted(model: nn.Module, x: torch.Tensor, n_classes: int) -> MeasureContext:
    """Trained until no margin is negative but one image's, which is given another label: it errs."""
    labels = x.flatten(1)[:, :n_classes].argmax(1)
    initial = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
    labels[:2] = (labels[:2] + 1) % n_classes
    held_out = x + 0.3 * torch.randn_like(x), labels
    return MeasureContext(model.eval(), initial, x, labels, "cross_entropy", key="0123456789ab", held_out=held_out)


@functools.cache
def networks() -> tuple[MeasureContext, MeasureContext]:
    torch.manual_seed(0)
    both = (plain().double(), torch.randn(40, 6).double(), 4), (normed().double(), torch.randn(40, 1, 6, 6).double(), 3)
    return fitted(*both[0]), fitted(*both[1])


@functools.cache
def taken() -> list[tuple[Change, Values, Values]]:
    """Every measure before and after each transformation, at the last place of one of the networks."""
    found = []
    for context, asked in zip(networks(), (AT_PLACES[:-1], AT_PLACES[-1:]), strict=True):
        before = values(list(MEASURES), context)
        every = [change for change in changes(context.model, context.key) if change.factor in ("", FACTOR)]
        for transform in asked:
            for change in [change for change in every if change.transform == transform][-1:]:
                other = changed(context, change)
                function_difference(context.logits, other.logits, TOLERANCE)
                found.append((change, before, values(list(MEASURES), other)))
    return found


@pytest.mark.parametrize("label", MEASURES)
def test_what_leaves_a_measure_is_what_its_docstring_says(label: str) -> None:
    said = definition(MEASURES[label]).get("Invariant", "")
    assert re.fullmatch(r"(none|[a-z]+(-[a-z]+)?(, [a-z]+(-[a-z]+)?)*)\.", said), f"{label}: docstring lacks Invariant:"
    promised = {name for name in AT_PLACES if name in said.rstrip(".").split(", ")}
    assert promised or said == "none."
    for change, before, after in taken():
        row = compared(before[label], after[label])
        if not row["before"]:
            continue  # this network has no such value
        moved, tolerance = abs(float(row["relative_change"] or "inf")), float(row["tolerance"])
        if change.transform in promised:
            assert moved <= tolerance, f"{label}: {change.words}: moved by {moved:.2g}"
        elif tolerance == ROUNDING:  # of a sampled one a change may lie within its standard error
            assert moved > tolerance, f"{label}: {change.words}: the same, which its docstring does not say"
