"""What every measure must do, checked on all that are registered: no measure needs a test of its own to get these."""

import copy
import functools
import inspect
import math
from collections.abc import Collection
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from study.measures import MEASURES, MeasureContext, canonical, compute, members
from study.measures.registry import Whole
from study.names import Label
from study.reference.definition import definition
from tests.reference import measures as reference
from tests.reference.measures import TWINS, Case
from tests.reference.perturbation import BY_LEVEL

LOSSES = ("cross_entropy", "squared_error")
# Relative difference from the twin: Lanczos ends at a residual; 31 samples make an error curve of steps, which may pass
# 0.1 more than once, and the twin takes the first passage of a finer scale; an ascent of 20 steps is not one of 200.
TOLERANCE = {"lambda_max": 1e-6, "tsuzuku": 1e-4, "temperature": 1e-5}
MOVING = ("pac_bayes", "sharpness", "worst_case")  # modules whose measures move the weights
PERTURBS = {label for label, m in MEASURES.items() if m.function.__module__.endswith(MOVING)}
SEARCHES = {label for label in PERTURBS if label not in ("keskar", "sharpness_max", "sharpness_mean")}
TOLERANCE |= dict.fromkeys(SEARCHES, 0.15) | {"keskar": 0.001, "sharpness_max": 0.01}
# Step and training loss, which falls, rises again, and is as low as 0.01 at last.
HISTORY = ((4, 0.5), (8, 0.3), (12, 0.1), (16, 0.2), (20, 0.05), (22, 0.01), (24, 0.008))
# Defined where the network errs: of these the labels of three samples are others, too few to make a margin negative.
NEEDS_ERRORS = {"temperature", "nll_after_temperature"}


def toy(kind: str, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A copy of a small network fitted to a learnable toy problem: margins are positive and curvature is not tiny."""
    return copy.deepcopy(_fitted(kind, dtype, seed))


@functools.cache
def _fitted(kind: str, dtype: torch.dtype, seed: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    if kind == "mlp":
        model: nn.Module = nn.Sequential(
            nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 5), nn.LeakyReLU(0.1), nn.Linear(5, 4)
        )
        x = torch.randn(31, 6)
    else:
        model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 2), nn.ReLU(),
                              nn.Flatten(), nn.Linear(16, 4))  # fmt: skip
        x = torch.randn(31, 2, 6, 6)
    model, x = model.to(dtype), x.to(dtype)
    labels = x.flatten(1)[:, :4].argmax(1)
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
    optimizer.zero_grad()
    return model.eval(), x, labels


def context(
    kind: str, loss: str = "cross_entropy", dtype: torch.dtype = torch.float64, label: str = ""
) -> MeasureContext:
    model, x, labels = toy(kind, dtype)
    if label in NEEDS_ERRORS:
        labels = torch.cat([(labels[:3] + 1) % 4, labels[3:]])
    initial = {n: p.detach() - 0.1 for n, p in model.named_parameters()}
    return MeasureContext(
        model, initial, x, labels, loss, key="0123456789ab", history=HISTORY, held_out=held_out_of(x, labels)
    )


def held_out_of(x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples beside those trained on, with their labels."""
    return x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(x), labels


@functools.cache
def shared(kind: str, loss: str, errs: bool, dtype: torch.dtype = torch.float64, copy: str = "") -> MeasureContext:
    """One context for all measures, as they are taken in a study: work that they share is done once."""
    return context(kind, loss, dtype, label="temperature" if errs else "")


@functools.cache
def shared_case(kind: str, loss: str, errs: bool) -> Case:
    """The same for the twins."""
    ctx = shared(kind, loss, errs)
    return Case(ctx.model, dict(ctx.initial), ctx.x, ctx.labels, loss, HISTORY, ctx.held_out)


def lacking(measures: Collection[str], twins: Collection[str]) -> str:
    """What to write where, so that every measure has its twin and every twin its measure; "" where they do."""
    asked = []
    for label in sorted(set(measures) - set(twins)):
        name = label.partition("(")[0]
        asked.append(
            f"{label} has no twin: write `def _{name}(case: Case) -> float` into tests/reference/measures.py, slow and "
            f'obvious, without study/measures, and the line `"{label}": _{name},` into TWINS there; to copy: '
            "_distance (one number), _trace with _layers (a number a layer)"
        )
    asked += [
        f"{label} is in TWINS of tests/reference/measures.py and no measure" for label in set(twins) - set(measures)
    ]
    return "; ".join(asked)


def test_every_measure_has_a_twin_and_no_twin_is_left_over() -> None:
    said = lacking(MEASURES, {Label.parse(label).measure for label in TWINS})
    assert [label for label in TWINS if canonical(label) != label] == []
    assert not said, said


def test_a_missing_twin_says_where_to_write_it() -> None:
    said = lacking([*MEASURES, "largest_weight"], TWINS)
    assert said.startswith(
        "largest_weight has no twin: write `def _largest_weight(case: Case) -> float` into tests/ref"
    )
    assert '`"largest_weight": _largest_weight,` into TWINS' in said
    for name in ("_distance", "_trace", "_layers"):
        assert name in said and hasattr(reference, name), "what is to be copied is there"
    assert lacking([], ["gone"]) == "gone is in TWINS of tests/reference/measures.py and no measure"


@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("label", BY_LEVEL)
def test_a_bound_is_its_formula_at_the_level_that_was_found(label: str, kind: str) -> None:
    flatness, bound = BY_LEVEL[label]
    level = compute(flatness, shared(kind, "cross_entropy", False))["value"] ** -0.5
    found = compute(label, shared(kind, "cross_entropy", False))["value"]
    assert found == pytest.approx(bound(shared_case(kind, "cross_entropy", False), level), rel=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("label", sorted(TWINS))
def test_agrees_with_its_twin(label: str, kind: str, loss: str) -> None:
    ctx = shared(kind, loss, label in NEEDS_ERRORS)
    expected = TWINS[label](shared_case(kind, loss, label in NEEDS_ERRORS))
    found, rel = compute(label, ctx), TOLERANCE.get(Label.parse(label).measure, 1e-9)
    if isinstance(expected, dict):
        assert found["layers"].keys() == expected.keys()
        for name, value in expected.items():
            assert found["layers"][name] == pytest.approx(value, rel=rel), name
        assert found["value"] == pytest.approx(sum(expected.values()), rel=rel)
    elif isinstance(expected, Whole):
        assert found["layers"] == pytest.approx(expected.layers, rel=rel)
        assert found["value"] == pytest.approx(expected.value, rel=rel)
    else:
        assert found["layers"] is None
        assert found["value"] == pytest.approx(expected, rel=rel)


@functools.cache
def _two_classes() -> tuple[MeasureContext, MeasureContext]:
    """A network with one output f by binary cross-entropy; and with outputs 0 and f by cross-entropy."""
    torch.manual_seed(0)
    x = torch.randn(31, 6, dtype=torch.float64)
    labels = (x[:, 0] + 0.3 * x[:, 1] > 0).long()
    one = nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 5), nn.LeakyReLU(0.1), nn.Linear(5, 1)).double()
    optimizer = torch.optim.Adam(one.parameters(), 0.03)
    for _ in range(60):
        optimizer.zero_grad()
        functional.binary_cross_entropy_with_logits(one(x)[:, 0], labels.double()).backward()
        optimizer.step()
    two = nn.Sequential(*(copy.deepcopy(module) for module in list(one)[:-1]), nn.Linear(5, 2).double())
    with torch.no_grad():
        for end, start in ((two[4].weight, one[4].weight), (two[4].bias, one[4].bias)):
            end.copy_(torch.cat([torch.zeros_like(start), start]))
    return tuple(  # type: ignore[return-value]
        MeasureContext(
            m.eval(),
            {n: 0.5 * p.detach() for n, p in m.named_parameters()},
            x,
            labels,
            loss,
            key="0" * 12,
            history=HISTORY,
            held_out=held_out_of(x, labels),
        )
        for m, loss in ((one, "binary_cross_entropy"), (two, "cross_entropy"))
    )


def two_classes() -> tuple[MeasureContext, MeasureContext]:
    return copy.deepcopy(_two_classes())


# The block of two outputs holds that of one twice, as [[1, -1], [-1, 1]] times it: twice the trace and the eigenvalue.
TWICE = ("hessian_trace", "kappa_2019", "lambda_max")


# Of two outputs there are other weights: twice as many in the last layer, which counts twice beside the others.
OTHER = {label for label, m in MEASURES.items() if m.function.__module__.endswith((*MOVING, "spectrum", "gradient"))}
OTHER |= {"parameter_count", "quotient_eigenvalue", "weight_curvature"}


@pytest.mark.parametrize("label", sorted(set(MEASURES) - OTHER - NEEDS_ERRORS))
def test_of_one_output_as_of_two(label: str) -> None:
    """Binary cross-entropy of f is the softmax's of (0, f): the same function of the same weights, measured alike."""
    one, two = (compute(label, ctx) for ctx in two_classes())
    if one["layers"] is None:
        assert one["value"] == pytest.approx(two["value"], rel=1e-9)
    for name, value in (one["layers"] or {}).items():
        factor = 2 if name == "4" and label in TWICE else 1
        assert factor * value == pytest.approx(two["layers"][name], rel=1e-6 if label == "lambda_max" else 1e-9), name


@pytest.mark.parametrize("measure", ["sharpness_max", "sharpness_mean"])
def test_normalized_outputs_are_refused_where_there_is_one(measure: str) -> None:
    with pytest.raises(ValueError, match="one output less its mean is 0: allowed: two outputs or more"):
        compute(f"{measure}(logits=normalized)", two_classes()[0])


def test_noise_on_a_network_with_one_output_is_judged_by_its_sign() -> None:
    one, _ = two_classes()
    found = compute("pac_bayes_flatness", one)["value"]
    noise = [{n: torch.randn(p.shape, generator=g).to(p) for n, p in one.model.named_parameters()}
             for g in [one.generator("pac_bayes_flatness")] for _ in range(10)]  # fmt: skip
    errors = []
    for factor in (0.8, 1.25):  # of the variance that the error bears
        sigma = (factor / found) ** 0.5
        weights = [{n: p + sigma * u[n] for n, p in one.model.named_parameters()} for u in noise]
        outputs = [torch.func.functional_call(one.model, w, (one.x,))[:, 0] for w in weights]
        errors.append(torch.stack([((f > 0) != (one.labels == 1)).double().mean() for f in outputs]).mean().item())
    clean = ((one.model(one.x)[:, 0] > 0) != (one.labels == 1)).double().mean().item()
    assert errors[0] - clean < 0.13 and errors[1] - clean > 0.07


@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("label", sorted(MEASURES))
def test_is_finite_repeatable_and_touches_nothing(label: str, kind: str) -> None:
    ctx = shared(kind, "cross_entropy", label in NEEDS_ERRORS, torch.float32, "first")
    before, rng = copy.deepcopy(ctx.model.state_dict()), torch.get_rng_state()
    flags = [(m.training, len(m._forward_hooks), len(m._backward_hooks)) for m in ctx.model.modules()]
    first = compute(label, ctx)
    again = compute(label, shared(kind, "cross_entropy", label in NEEDS_ERRORS, torch.float32, "again"))
    assert first == again
    assert math.isfinite(first["value"])
    assert torch.equal(rng, torch.get_rng_state()) or kind == "never"
    assert all(torch.equal(before[n], t) for n, t in ctx.model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in ctx.model.parameters())
    assert flags == [(m.training, len(m._forward_hooks), len(m._backward_hooks)) for m in ctx.model.modules()]


@pytest.mark.parametrize("label", sorted(MEASURES))
def test_does_not_depend_on_the_batches(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = []
    for size in (7, 64):
        monkeypatch.setattr("study.measures.context.CHUNK", size)
        ctx = shared("conv", "cross_entropy", label in NEEDS_ERRORS, copy=f"in batches of {size}")
        values.append(compute(label, ctx)["value"])
    assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_sampled_values_have_a_standard_error_that_is_right() -> None:
    """Over other noise the value scatters by what the standard error says, within a factor of 2."""
    ctx = context("mlp")
    found = [compute("pac_bayes_flatness", replace(ctx, key=f"{k:012x}")) for k in range(40)]
    logs = torch.tensor([f["value"] for f in found]).double().log()
    claimed = torch.tensor([f["standard_error"] / f["value"] for f in found]).double().square().mean().sqrt()
    assert 0.5 < float(logs.std() / claimed) < 2


def test_a_shared_search_that_finds_nothing_is_made_once_and_says_so_to_each() -> None:
    ctx, made = context("mlp"), []

    def search(ctx: MeasureContext) -> float:
        made.append(ctx)
        raise ValueError("alpha: the training error does not rise")

    for _ in range(2):
        with pytest.raises(ValueError, match="does not rise"):
            ctx.shared(search)
    assert len(made) == 1


@pytest.mark.parametrize("label", sorted(MEASURES))
def test_docstring_says_everything(label: str) -> None:
    text = inspect.getdoc(MEASURES[label].function) or ""
    lines = text.splitlines()
    assert lines[0].endswith(".")
    for word in ("Source:", "Parameters:", "Data:", "Cost:"):
        assert word in text, f"{label}: docstring lacks {word}"
    assert "Deterministic." in text or "standard error" in text
    assert MEASURES[label].function.__name__ == label
    assert MEASURES[label].layerwise == isinstance(
        compute(label, shared("mlp", "cross_entropy", label in NEEDS_ERRORS))["layers"], dict
    )


def scaled(model: nn.Module, first: int, second: int, factor: torch.Tensor) -> nn.Module:
    """Neuron i of layer `first` times factor[i], the columns of layer `second` that read it divided by it."""
    other = copy.deepcopy(model)
    a, b = other.get_submodule(str(first)), other.get_submodule(str(second))
    with torch.no_grad():
        a.weight.mul_(factor[:, None])  # type: ignore[union-attr, operator, call-overload]
        a.bias.mul_(factor)  # type: ignore[union-attr, operator, call-overload]
        b.weight.div_(factor)  # type: ignore[union-attr, operator, call-overload]
    return other


NEARLY = {"pac_bayes_mag_flatness", "sharpness_mag_flatness"}  # but for their eps, which is far below these weights


@functools.cache
def rescaled(transform: str, errs: bool, first: int = 0) -> MeasureContext:
    ctx = shared("mlp", "cross_entropy", errs)
    factor = torch.arange(5.0, 12.0) if first == 0 else 4.0 ** torch.arange(5)
    factor = torch.full_like(factor, 11.0) if transform == "layerwise" else factor
    model = scaled(ctx.model, first, first + 2, factor.double())
    torch.testing.assert_close(ctx.model(ctx.x), model(ctx.x))
    return replace(ctx, model=model)


@pytest.mark.parametrize("label", sorted(MEASURES))
@pytest.mark.parametrize("transform", ["layerwise", "neuronwise"])
def test_invariance_is_as_promised(label: str, transform: str) -> None:
    errs, first = label in NEEDS_ERRORS, 2 if label in members("set:bound2021") else 0  # those are of the last layer
    ctx, changed = shared("mlp", "cross_entropy", errs), rescaled(transform, errs, first)
    before, after = compute(label, ctx)["value"], compute(label, changed)["value"]
    if transform.replace("wise", "-wise") in definition(MEASURES[label])["Invariant"]:
        assert after == pytest.approx(before, rel=1e-9)
    elif label in NEARLY:
        assert after == pytest.approx(before, rel=0.1)
    else:
        assert abs(after - before) > 0.01 * abs(before)


def test_the_least_perturbation_is_an_option_and_one_that_is_too_large_is_said() -> None:
    ctx = shared("mlp", "squared_error", True)
    box = compute("sharpness_flatness", ctx)["value"] ** -0.5
    half = compute(f"sharpness_mag_flatness(eps={box / 2:.3g})", ctx)["value"]
    none = compute("sharpness_mag_flatness(eps=1e-12)", ctx)["value"]
    assert 0.5 * none**-0.5 < half**-0.5 < none**-0.5, "what is left of the box is smaller"
    with pytest.raises(ValueError, match=r"eps: .*: the training error rises by more than 0\.1 in a box of eps alone"):
        compute(f"sharpness_mag_flatness(eps={2 * box:.3g})", ctx)
