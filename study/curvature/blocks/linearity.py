"""Is the Gauss-Newton block of a layer its Hessian? Read off the autograd graph, whatever code built it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

# Nodes of the autograd graph that are linear, almost everywhere, in all their inputs together.
_PIECEWISE_LINEAR = frozenset(
    """
    Abs Add Alias Amax Amin AsStrided AvgPool1D AvgPool2D AvgPool3D AdaptiveAvgPool2D AdaptiveAvgPool3D
    MkldnnAdaptiveAvgPool2D AdaptiveMaxPool2D AdaptiveMaxPool3D Cat Chunk Clamp ClampMax ClampMin Clone ConstantPadNd
    Copy Copies CopySlices Cumsum Detach Diagonal Expand Flip Fold Gather Hardshrink Hardtanh Im2Col Col2Im Index
    IndexSelect LeakyRelu Max Maximum MaskedFill MaxPool2DWithIndices MaxPool3DWithIndices Mean Median Min Minimum
    MkldnnMaxPool2D Narrow Neg Permute PixelShuffle PixelUnshuffle ReflectionPad1D ReflectionPad2D ReflectionPad3D Relu
    Repeat ReplicationPad1D ReplicationPad2D ReplicationPad3D Reshape ReshapeAlias Roll RreluWithNoise Rsub Select Slice
    Softshrink Sort Split SplitWithSizes Squeeze Stack Sub Sum T Threshold ToCopy Topk Transpose Tril Triu Unbind Unfold
    Unsqueeze UnsafeView UpsampleBilinear2D UpsampleNearest1D UpsampleNearest2D View ViewAs Where
    """.split()  # noqa: SIM905 (sixty quoted lines say no more)
)
# Nodes that are linear in each input, not in two together: a product of two things that depend on one weight is not.
_MULTILINEAR = frozenset(
    """
    Addbmm Addmm Addmv Baddbmm Bmm Convolution ConvolutionOverrideable CudnnConvolution Dot Embedding
    Linear MkldnnConvolution Mm Mul Mv PreluKernel SlowConv2D ThnnConv2D
    """.split()  # noqa: SIM905
)
# Norms over the sample itself: nonlinear in their input (the first), linear in their scale and shift.
_NORMS = frozenset(["NativeLayerNorm", "NativeGroupNorm", "FusedRmsNorm"])
# Multilinear with running statistics, such a norm with those of what they are given (also as an instance norm).
_BATCH_NORMS = frozenset(["NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm"])


def hessian_is_gauss_newton(outputs: Tensor, weights: Sequence[Tensor]) -> list[bool]:
    """For each weight: are the outputs, almost everywhere, a linear function of it while all others stand still?

    Walks the graph behind the outputs with one bit a weight: the bits that reach a node from below say on which weights
    it depends. A node of unknown kind counts as nonlinear, so an answer True is safe and False may be too careful.
    """
    bits = {id(weight): 1 << index for index, weight in enumerate(weights)}
    depends: dict[Node | None, int] = {None: 0}
    curved = 0
    stack = [outputs.grad_fn] if outputs.grad_fn else []
    while stack:
        node = stack[-1]
        if node in depends:
            stack.pop()
            continue
        children: list[Node | None] = [child for child, _ in node.next_functions]
        waiting = [child for child in children if child not in depends]
        if waiting:
            stack.extend(child for child in waiting if child)
            continue
        stack.pop()
        masks = [depends[child] for child in children]
        own = bits.get(id(getattr(node, "variable", None)), 0)
        depends[node] = _union(masks) | own
        curved |= _curved(node, masks)
    return [not curved & bits[id(weight)] for weight in weights]


def _curved(node: Node, masks: list[int]) -> int:
    """On which weights a node's outputs may depend otherwise than linearly."""
    if isinstance(node, BackwardCFunction):  # somebody's autograd.Function, whatever its name
        return _union(masks)
    kind = re.sub(r"Backward\d*$", "", node.name())
    if kind in _PIECEWISE_LINEAR or kind.endswith("AccumulateGrad"):
        return 0
    if kind in _BATCH_NORMS:
        takes_running = getattr(node, "_saved_training", True) is False
        return _in_two(masks) if takes_running else masks[0]
    if kind in _MULTILINEAR:
        return _in_two(masks)
    if kind == "Div":
        return masks[1]
    return masks[0] if kind in _NORMS else _union(masks)


def _in_two(masks: list[int]) -> int:
    seen = both = 0
    for mask in masks:
        both |= seen & mask
        seen |= mask
    return both


def _union(masks: list[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union
