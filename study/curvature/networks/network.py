"""A stranger's network as a function: run frozen, and left as it was found."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from .adapter import Call
from .batches import Inputs, apply, count_samples
from .holding import Places, check_model, kept


class Network:
    """A model on copies of its parameters and buffers, in eval mode, autocast off, global random state restored.

    Used as a context: `with Network(model) as network: outputs = network(inputs)`. The model's own parameters, buffers,
    gradients, hooks, requires_grad flags, modes and other attributes are the same objects with the same numbers
    afterwards, whatever happens inside. Memory: one more copy of the weights.
    """

    def __init__(
        self,
        model: nn.Module,
        dtype: torch.dtype | None = None,
        train: Iterable[str] | None = None,
        call: Call | None = None,
    ):
        """`train` names the parameters that need gradients (default: all); `dtype` converts a copy of the model.

        `call(model, inputs)` gives the outputs where they are not those of the model called on its inputs.
        """
        check_model(model)
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise ValueError(f"dtype {dtype!r} is not a floating point type of torch, such as torch.float64")
        named = dict(model.named_parameters())
        if not named:
            raise ValueError(f"{type(model).__name__} has no parameters")
        first = next(iter(named.values()))
        self.model = model
        self._call = call
        self.is_called_plainly = call is None  # on its inputs
        self.device = first.device
        self.dtype = dtype or first.dtype
        self._names = set(named if train is None else train)
        self._cast = dtype
        self._contexts = contextlib.ExitStack()
        self._overwrites: bool | None = None  # its inputs: a forward pass may begin in place; known after the first
        self.has_drawn = False  # whether the last call drew random numbers
        self._default_device = torch.get_default_device()

    def __enter__(self) -> Network:
        try:
            self._enter()
        except BaseException:
            self._contexts.close()
            raise
        return self

    def _enter(self) -> None:
        enter = self._contexts.enter_context
        enter(kept(self.model))
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
        # Hooks and batched passes need the plain code of what is compiled; without dynamo nothing is. A study also runs
        # with torch 2.4 and 2.5, which know no stance.
        if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
            enter(torch.compiler.set_stance("force_eager"))
        if self._default_device.type != "cpu":  # what is drawn and summed here is on the CPU first
            enter(torch.device("cpu"))
        for module in self.model.modules():  # of a user's own training: what they change of gradients is not the loss's
            module._backward_hooks.clear()
            module._backward_pre_hooks.clear()
        self.model.eval()
        self._places = Places(self.model)
        # Copies: a forward pass may average in a buffer, or clip a weight in place.
        self.parameters = {name: self._copy(value) for name, value in self.model.named_parameters()}
        for name in self._names:
            self.parameters[name].requires_grad_()
        self._state = {**self.parameters, **{name: self._copy(value) for name, value in self.model.named_buffers()}}

    def __exit__(self, *error: object) -> None:
        self._contexts.close()

    def _copy(self, value: Tensor) -> Tensor:
        cast = self._cast if value.is_floating_point() else None
        return value.detach().to(dtype=cast or value.dtype, copy=True)

    def __call__(self, inputs: Inputs) -> Tensor:
        """The outputs (n, C) for some inputs."""
        if self._overwrites is not False:
            inputs = apply(inputs, torch.clone)
        args = inputs if isinstance(inputs, tuple) else () if isinstance(inputs, dict) else (inputs,)
        kwargs = inputs if isinstance(inputs, dict) else {}
        before = self._random_state()
        default = self._default_device if self._default_device.type != "cpu" else contextlib.nullcontext()
        with self._places.taken_by(self._state), default:
            outputs = self._call(self.model, args) if self._call else self.model(*args, **kwargs)
        self.has_drawn = not all(map(torch.equal, before, self._random_state()))
        if self._overwrites is None:
            self._overwrites = any(value._version for value in (*args, *kwargs.values()))
        if not isinstance(outputs, Tensor):
            what = ".logits" if hasattr(outputs, "logits") else "[0]"
            raise ValueError(
                f"the model returned {type(outputs).__name__}; a tensor (n, C) of outputs is needed, such as by "
                f"forward=lambda model, inputs: model(inputs){what}"
            )
        n_samples = count_samples(inputs)
        if outputs.ndim not in (1, 2) or len(outputs) != n_samples:
            raise ValueError(f"the model's output has shape {tuple(outputs.shape)}; ({n_samples}, C) is needed")
        return outputs[:, None] if outputs.ndim == 1 else outputs

    def _random_state(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        return [*states, torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else states

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
