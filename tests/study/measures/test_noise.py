"""The largest noise is sought with fewer draws than there are levels for, and found where all of them put it."""

import math
from collections.abc import Callable, Iterator
from statistics import fmean, stdev

import pytest
import torch
from torch import Tensor

from study.measures.perturbation.noise import RISE, STANDARD_ERROR, Level, _crossing, largest_noise, stopped_mean

N = 500  # samples, of which each error is a share
Rises = Callable[[float, slice], Tensor]


def drawn(seed: int, spread: float, clean: float) -> Rises:
    """Errors that rise with the noise, each draw's from a place of its own."""
    generator = torch.Generator().manual_seed(seed)
    places = -5 + spread * torch.randn(80, generator=generator, dtype=torch.float64)

    def rises(log2_sigma: float, which: slice) -> Tensor:
        errors = clean + (0.9 - clean) * torch.sigmoid(3 * (log2_sigma - places[which]))
        return (errors * N).round() / N - clean

    return rises


def by_all_draws(rises: Rises, start: float, draws: int, most: int, halvings: int) -> Level:
    """The same with all draws at each level that is ever looked at."""
    levels: dict[float, Tensor] = {}

    def over(at: float) -> bool:
        levels.setdefault(at, rises(at, slice(0, draws)))
        return float(levels[at].mean()) > RISE

    low = float(math.floor(start))
    while over(low):
        low -= 1
    while not over(low + 1):
        low += 1
    high = low + 1
    over(low - 1), over(high + 1)
    for _ in range(halvings):
        middle = (low + high) / 2
        low, high = (low, middle) if over(middle) else (middle, high)
    while True:
        at = sorted(levels)
        curves = torch.stack([levels[a] for a in at], 1)
        n = len(curves)
        root = _crossing(at, curves.mean(0).tolist())
        others = [torch.cat([curves[:k], curves[k + 1 :]]).mean(0).tolist() for k in range(n)]
        variance = torch.tensor([_crossing(at, other) for other in others], dtype=torch.float64).var(unbiased=False)
        found = Level(root, math.sqrt((n - 1) * float(variance)))
        if 2 * math.log(2) * found.standard_error <= STANDARD_ERROR or n >= most:
            return found
        near = sorted(levels, key=lambda level: abs(level - root))[: halvings + 3]
        levels = {a: torch.cat([levels[a], rises(a, slice(n, min(2 * n, most)))]) for a in near}


@pytest.mark.parametrize("start", [-9.5, -4.0, 1.3])
@pytest.mark.parametrize("spread", [0.02, 0.3, 1.5])
@pytest.mark.parametrize("clean", [0.0, 0.03])
def test_it_is_the_level_by_all_draws_to_the_bit(start: float, spread: float, clean: float) -> None:
    taken = {"few": 0, "all": 0}

    def counted(name: str, rises: Rises) -> Rises:
        def counting(log2_sigma: float, which: slice) -> Tensor:
            taken[name] += which.stop - which.start
            return rises(log2_sigma, which)

        return counting

    for seed in range(3):
        rises = drawn(seed, spread, clean)
        found = largest_noise(counted("few", rises), start, 10, 80, 4, least=-clean)
        assert found == by_all_draws(counted("all", rises), start, 10, 80, 4)
    assert taken["few"] < 0.8 * taken["all"]


def test_no_level_is_named_in_a_line() -> None:
    with pytest.raises(ValueError, match=r"does not rise by 0\.1 at any noise"):
        largest_noise(lambda at, which: torch.zeros(which.stop - which.start).double(), 0.0, 10, 10)
    with pytest.raises(ValueError, match=r"rises by more than 0\.1 at any noise"):
        largest_noise(lambda at, which: torch.ones(which.stop - which.start).double(), 0.0, 10, 10)


def skewed(seed: int, spread: float = 0.3, n: int = 200) -> list[float]:
    """Draws of mean 1 with a long tail to the right, as rises of the loss have."""
    generator = torch.Generator().manual_seed(seed)
    scale = math.sqrt(math.log(1 + spread**2))
    normal = torch.randn(n, generator=generator, dtype=torch.float64)
    return (scale * normal - scale**2 / 2).exp().tolist()


def test_the_mean_of_draws_stops_where_its_error_is_small_and_takes_no_draw_more() -> None:
    draws, taken = skewed(0), 0

    def one_by_one() -> Iterator[float]:
        nonlocal taken
        for taken, value in enumerate(draws, 1):  # noqa: B007
            yield value

    found = stopped_mean(one_by_one(), 10)
    first = next(n for n in range(10, 201) if stdev(draws[:n]) / n**0.5 <= STANDARD_ERROR * fmean(draws[:n]))
    assert 10 < taken == first
    assert found.value == pytest.approx(fmean(draws[:first]), rel=1e-12)
    assert found.standard_error == pytest.approx(stdev(draws[:first]) / first**0.5, rel=1e-12)
    all_of_them = stopped_mean(iter(skewed(1, spread=2.0)), 10)
    assert all_of_them.value == pytest.approx(fmean(skewed(1, spread=2.0)), rel=1e-12)
    assert stopped_mean([1.0] * 200, 10).standard_error == 0


def test_so_to_stop_costs_what_is_said_of_it() -> None:
    """Two standard errors are a little short, and the value a little low; of as many draws always, less so."""
    found = [stopped_mean(skewed(seed), 10) for seed in range(3000)]
    held = fmean(abs(one.value - 1) <= 2 * one.standard_error for one in found)
    low = fmean(one.value for one in found) - 1
    assert 0.86 < held < 0.935
    assert -0.015 < low < -0.003
    always = [stopped_mean(skewed(seed, n=36), 36) for seed in range(3000)]
    assert fmean(abs(one.value - 1) <= 2 * one.standard_error for one in always) > held + 0.01
    assert abs(fmean(one.value for one in always) - 1) < 0.003
    with pytest.raises(ValueError, match="9 draws, allowed: 10 or more"):
        stopped_mean([1.0] * 9, 10)
