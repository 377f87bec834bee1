"""What training costs by count, and what the device can do by measurement: the shares of a benchmark's rows.

Arithmetic is counted by torch.utils.flop_counter. Bytes are a stated count, of 4 bytes a number, that no cache is
taken off from: a step reads the weights twice, writes their gradient, and in the update reads both and writes the
weights (momentum: read and written too); an activation is written, read by the next layer, read again by the backward
pass, and its gradient written and read; an input is read where it lies, written to the batch and read. An evaluation
reads weights and inputs once, writes activations and reads them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from study.device import rounded_products
from tests.benchmarks.alone import EVALUATED

Clock = Callable[[], float]


@dataclass(frozen=True)
class Cost:
    """Floating-point operations and bytes of one network's epoch, with the evaluation at its end."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class Device:
    """Floating-point operations and bytes a second: of a large product or convolution, the faster; of a copy."""

    flops: float
    bytes: float


def cost_of_epoch(model: nn.Module, x: Tensor, y: Tensor, batch_size: int, momentum: bool) -> Cost:
    """By count, of training on all inputs x with labels y."""
    n, n_steps = len(y), math.ceil(len(y) / batch_size)
    step = FlopCounterMode(display=False)
    with step:
        F.cross_entropy(model(x[:batch_size]), y[:batch_size]).backward()
    forward = FlopCounterMode(display=False)
    with forward, torch.no_grad():
        outputs = _n_outputs(model, x[:batch_size]) / batch_size
    model.zero_grad()
    weights, inputs = sum(p.numel() for p in model.parameters()), x[0].numel()
    moved = n_steps * weights * (8 if momentum else 6) + n * (5 * outputs + 3 * inputs)
    moved += math.ceil(n / EVALUATED) * weights + n * (2 * outputs + inputs)
    return Cost(n / batch_size * (step.get_total_flops() + forward.get_total_flops()), 4.0 * moved)


def _n_outputs(model: nn.Module, x: Tensor) -> int:
    """Numbers that the layers of a network put out for inputs x."""
    found = []

    def count(module: nn.Module, inputs: object, output: Tensor) -> None:
        found.append(output.numel())

    hooks = [m.register_forward_hook(count) for m in model.modules() if not list(m.children())]
    model(x)
    for hook in hooks:
        hook.remove()
    return sum(found)


def measured_device(device: str, clock: Clock, repeats: int = 5) -> Device:
    """What large arithmetic in full float32 and one large copy reach here, with the threads that are set now.

    Two libraries do the arithmetic: on an AMD EPYC with AVX-512 torch's matrix product (MKL) reaches 109 GFLOP/s on one
    core and its convolution (oneDNN) 260, which is what the device can do. Of a convolution it counts what its
    definition multiplies: a kernel that does with less (Winograd's) would reach more.
    """
    size, n_bytes = (8192, 2**32) if device.startswith("cuda") else (1024, 2**28)
    a = torch.randn(size, size, device=device)
    source = torch.zeros(n_bytes // 8, device=device)  # read and written: n_bytes in all
    target = torch.empty_like(source)
    images = torch.randn(32, 256, 16, 16, device=device).to(memory_format=torch.channels_last)
    kernels = torch.randn(256, 256, 3, 3, device=device).to(memory_format=torch.channels_last)
    with FlopCounterMode(display=False) as counted:
        F.conv2d(images, kernels)
    with rounded_products(False):
        product = 2 * size**3 / _fastest(lambda: torch.mm(a, a), clock, repeats)
        convolution = counted.get_total_flops() / _fastest(lambda: F.conv2d(images, kernels), clock, repeats)
    copy = _fastest(lambda: target.copy_(source), clock, repeats)
    return Device(max(product, convolution), n_bytes / copy)


def _fastest(call: Callable[[], object], clock: Clock, repeats: int) -> float:
    call()
    times = []
    for _ in range(repeats):
        start = clock()
        call()
        times.append(clock() - start)
    return min(times)
