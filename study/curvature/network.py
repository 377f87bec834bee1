"""A stranger's network as a function: run frozen, and left as it was found."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from .batches import Inputs, apply, count_samples


class Network:
    """A model on detached copies of its parameters, in eval mode, autocast off, global random state restored.

    Used as a context: `with Network(model) as network: outputs = network(inputs)`. The model's own parameters, buffers,
    gradients, requires_grad flags and training modes are as before afterwards, whatever happens inside.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype | None = None, train: Iterable[str] | None = None):
        """`train` names the parameters that need gradients (default: all); `dtype` converts a copy of the model."""
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            raise ValueError(f"model is a {type(model).__name__}; give the network inside, model.module")
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise ValueError(f"dtype {dtype!r} is not a floating point type of torch, such as torch.float64")
        named = dict(model.named_parameters())
        if not named:
            raise ValueError(f"{type(model).__name__} has no parameters")
        first = next(iter(named.values()))
        self.model = model
        self.device = first.device
        self.dtype = dtype or first.dtype
        self._names = set(named if train is None else train)
        self._cast = dtype
        self._contexts = contextlib.ExitStack()
        self._overwrites: bool | None = None  # its inputs: a forward pass may begin in place; known after the first

    def __enter__(self) -> Network:
        enter = self._contexts.enter_context
        enter(_modes_kept(self.model))
        enter(torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []))
        enter(torch.inference_mode(False))
        enter(torch.enable_grad())
        enter(torch.autocast(self.device.type, enabled=False))
        enter(_full_precision())
        if self.device.type == "cuda":
            # `enabled` too: its default in this context manager is False.
            cudnn = torch.backends.cudnn
            enter(cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False))
        # The fused kernels of attention have no second derivative and no batched backward pass.
        enter(sdpa_kernel(SDPBackend.MATH))
        if "torch._dynamo" in sys.modules:  # else nothing is compiled; hooks and batched passes need the plain code
            enter(torch.compiler.set_stance("force_eager"))
        self.model.eval()
        self.parameters = {name: self._copy(value) for name, value in self.model.named_parameters()}
        for name in self._names:
            self.parameters[name].requires_grad_()
        # Buffers are copied: a forward pass may count or average in them.
        buffers = {name: self._copy(value).clone() for name, value in self.model.named_buffers()}
        self._state = {**self.parameters, **buffers}
        return self

    def __exit__(self, *error: object) -> None:
        self._contexts.close()

    def _copy(self, value: Tensor) -> Tensor:
        value = value.detach()
        return value.to(self._cast) if self._cast is not None and value.is_floating_point() else value

    def __call__(self, inputs: Inputs, state: Mapping[str, Tensor] | None = None) -> Tensor:
        """The outputs (n, C) for some inputs, with `state` in place of the parameters it names."""
        if self._overwrites is not False:
            inputs = apply(inputs, torch.clone)
        args = inputs if isinstance(inputs, tuple) else () if isinstance(inputs, dict) else (inputs,)
        kwargs = inputs if isinstance(inputs, dict) else {}
        outputs = functional_call(self.model, {**self._state, **(state or {})}, args, kwargs)
        if self._overwrites is None:
            self._overwrites = any(value._version for value in (*args, *kwargs.values()))
        if not isinstance(outputs, Tensor):
            raise ValueError(f"the model returned {type(outputs).__name__}; a tensor (n, C) of outputs is needed")
        n_samples = count_samples(inputs)
        if outputs.ndim not in (1, 2) or len(outputs) != n_samples:
            raise ValueError(f"the model's output has shape {tuple(outputs.shape)}; ({n_samples}, C) is needed")
        return outputs[:, None] if outputs.ndim == 1 else outputs

    def saved_bytes(self, make: Callable[[], object]) -> int:
        """Bytes that the autograd graphs made by a call hold for the backward pass, each place once, weights aside.

        Of a call on few samples: under these hooks graphs are not what they are without.
        """
        known = {value.untyped_storage().data_ptr() for value in self.parameters.values()}
        sizes: dict[int, int] = {}
        views: dict[
            int, dict[int, int]
        ] = {}  # by storage, then place: the storage of an input may be the whole data set

        def pack(value: Tensor) -> Tensor:
            storage = value.untyped_storage()
            where, at = storage.data_ptr(), value.data_ptr()
            if where not in known:
                sizes[where] = storage.nbytes()
                seen = views.setdefault(where, {})
                seen[at] = max(seen.get(at, 0), value.nbytes)
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            made = make()  # held while the storages are told apart
        del made
        return sum(min(sizes[where], sum(seen.values())) for where, seen in views.items())

    def place(self, value: Tensor) -> Tensor:
        """Data on the network's device and in its dtype; integers keep theirs."""
        if value.is_inference():
            value = value.clone()
        return value.to(self.device, self.dtype if value.is_floating_point() else None)


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Matrix products in the dtype that was asked for, not in TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def _modes_kept(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
