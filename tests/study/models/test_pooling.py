"""HalvingPool is nn.MaxPool2d(2) to the bit, values and gradients, wherever it goes another way."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from study.models import pooled
from study.models.pooling import LARGE, HalvingPool

SHAPES = [(2, 3, 4, 6), (16, 6, 28, 28), (64, 16, 10, 10), (3, 5, 7, 9), (1, 2, 2, 2)]
VALUES = {"distinct": lambda x: x, "ties": lambda x: x.round(), "all equal": torch.zeros_like}


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("shape", SHAPES)
def test_values_are_those_of_torch(shape: tuple[int, ...], values: str) -> None:
    x = VALUES[values](torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    with torch.no_grad():
        assert torch.equal(HalvingPool()(x), F.max_pool2d(x, 2))


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("first_order", [False, True])
def test_gradients_are_those_of_torch(shape: tuple[int, ...], values: str, first_order: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    x = VALUES[values](torch.randn(shape, generator=generator)).requires_grad_()
    pool = HalvingPool()
    pool.first_order = first_order
    ours, theirs = pool(x), F.max_pool2d(x, 2)
    slope = torch.randn(theirs.shape, generator=generator)
    assert torch.equal(ours, theirs)
    slope[..., -1, -1] = float("inf")
    ours, theirs = (torch.autograd.grad(pooled, x, slope)[0] for pooled in (ours, theirs))
    assert torch.equal(ours, theirs)
    assert torch.equal(ours.signbit(), theirs.signbit())


def test_both_ways_were_taken() -> None:
    numels = [torch.Size(shape).numel() for shape in SHAPES]
    assert min(numels) < LARGE <= max(n for n, s in zip(numels, SHAPES, strict=True) if s[-1] % 2 == 0)


@pytest.mark.parametrize("first_order", [False, True])
def test_nan_stays_nan(first_order: bool) -> None:
    pool = HalvingPool()
    pool.first_order = first_order
    x = torch.zeros(64, 8, 8, 8)
    x[0, 0, 1, 1] = float("nan")
    assert pool(x.requires_grad_())[0, 0, 0, 0].isnan()
    with torch.no_grad():
        assert pool(x)[0, 0, 0, 0].isnan()


def test_a_second_derivative_is_refused_not_wrong() -> None:
    pool = HalvingPool()
    x = torch.randn(64, 8, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(pool(x).square().sum(), x, create_graph=True)
    assert torch.equal(torch.autograd.grad(gradient.sum(), x)[0].unique(), torch.tensor([0.0, 2.0]))  # torch's own
    pool.first_order = True
    (gradient,) = torch.autograd.grad(pool(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_it_is_a_max_pooling_to_whoever_asks() -> None:
    pool = HalvingPool()
    assert isinstance(pool, nn.MaxPool2d)
    assert (pool.kernel_size, pool.stride, pool.padding, pool.dilation) == (2, 2, 0, 1)


@pytest.mark.parametrize("shape", [(4, 4), (1, 2, 3, 4, 4)])
def test_what_torch_refuses_is_refused(shape: tuple[int, ...]) -> None:
    with torch.no_grad(), pytest.raises(RuntimeError, match="3D or 4D"):
        HalvingPool()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("padding", "kernel", "shape"), [(0, 5, (3, 2, 8, 10)), (1, 3, (2, 3, 6, 6)), (2, 4, (1, 1, 5, 7))]
)
def test_a_convolution_and_its_pool_may_be_taken_together(padding: int, kernel: int, shape: tuple[int, ...]) -> None:
    convolution = nn.Conv2d(shape[1], 6, kernel, padding=padding)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    assert pooled.pays(convolution, HalvingPool(), x)
    with torch.no_grad():
        pixels = pooled.before_pooling(convolution, x, convolution.weight, convolution.bias)
        outputs = convolution(x)
    for at in range(4):
        torch.testing.assert_close(pixels[:, at], outputs[..., at // 2 :: 2, at % 2 :: 2])
    torch.testing.assert_close(pooled.largest(pixels)[1], F.max_pool2d(outputs, 2))


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_of_both_is_that_of_torch(values: str, dtype: torch.dtype) -> None:
    """Of equal pixels, as a blank image has them, the first takes it."""
    generator = torch.Generator().manual_seed(3)
    x = VALUES[values](torch.randn(4, 2, 8, 6, generator=generator, dtype=dtype))
    weight = torch.randn(3, 2, 3, 3, generator=generator, dtype=dtype)
    outputs = F.conv2d(x, weight).requires_grad_()
    slope = torch.randn(4, 3, 3, 2, generator=generator, dtype=dtype)
    (expected,) = torch.autograd.grad(F.max_pool2d(outputs, 2), outputs, slope)
    pixels = torch.stack([outputs.detach()[..., at // 2 :: 2, at % 2 :: 2] for at in range(4)], 1)
    spread = pooled.gradient(pixels, pooled.largest(pixels)[0], slope)
    assert all(torch.equal(spread[:, at], expected[..., at // 2 :: 2, at % 2 :: 2]) for at in range(4))
    of_four = torch.ops.aten.convolution_backward(
        spread.flatten(1, 2),
        x,
        pooled.shifted(weight),
        None,
        [2, 2],
        [0, 0],
        [1, 1],
        False,
        [0, 0],
        1,
        [False, True, False],
    )[1]
    of_weight = torch.nn.grad.conv2d_weight(x, list(weight.shape), expected)
    torch.testing.assert_close(pooled.unshifted(of_four, weight.shape), of_weight)


@pytest.mark.parametrize(
    ("convolution", "shape"),
    [(nn.Conv2d(3, 16, 3), (1, 3, 6, 6)), (nn.Conv2d(3, 6, 3), (1, 3, 7, 6)),
     (nn.Conv2d(3, 6, 3, stride=2), (1, 3, 9, 9)),
     (nn.Conv2d(3, 6, 3, groups=3), (1, 3, 6, 6)), (nn.Conv2d(3, 6, 3, padding="same"), (1, 3, 6, 6))],
)  # fmt: skip
def test_others_may_not(convolution: nn.Conv2d, shape: tuple[int, ...]) -> None:
    assert not pooled.pays(convolution, HalvingPool(), torch.zeros(shape))
