"""Each architecture is what its docstring says, written out again; its initial weights, sizes, curvature, refusals."""

import contextlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from study.__main__ import main
from study.config import ConfigError, config_from_dict
from study.curvature import layer_curvature
from study.models.activation import ACTIVATIONS
from study.models.init import INITS
from study.models.registry import MODELS
from study.training.start import build_model
from tests.reference.curvature import gauss_newton_block, mean_loss, trace_matrix

State = dict[str, Tensor]
SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"dropout": 0.5, "activation": "tanh"},
    "lenet5": {},
    "nin": {"depth": 2, "width": 4, "dropout": 0.5},
    "vgg": {"depth": 2, "width": 3, "dropout": 0.5},
    "resnet": {"depth": 8, "width": 2},
    "resnet18": {"width": 2},
    "vit": {"depth": 2, "heads": 2, "width": 8},
}
NORMS = (nn.BatchNorm2d, nn.LayerNorm)


def network(name: str, dataset: str = "digits_images", init: str = "default", **options: Any) -> nn.Module:
    """A small one, of 28 x 28 pixels where it needs them."""
    dataset = "mnist" if name == "lenet5" and dataset == "digits_images" else dataset
    config = {"dataset": dataset, "model": {name: {**SMALL[name], **options}}, "init": init}
    widths = {"hidden": [6, 5]} if MODELS[name].reads_hidden else {}
    return build_model(config_from_dict({**config, **widths, "init_gain": 2.0})).double()


def images(n: int = 8, side: int = 8, channels: int = 1) -> Tensor:
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def moved(model: nn.Module, x: Tensor) -> nn.Module:
    """With the statistics of some data in its norm layers, and scales and shifts other than 1 and 0."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad(), torch.random.fork_rng():
        for module in model.modules():
            if isinstance(module, NORMS):
                for p in module.parameters():
                    p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
        for _ in range(20):
            model.train()(x)
    return model.eval()


def norm(x: Tensor, s: State, name: str) -> Tensor:
    mean, variance = s[f"{name}.running_mean"], s[f"{name}.running_var"]
    return F.batch_norm(x, mean, variance, s[f"{name}.weight"], s[f"{name}.bias"])


def nin(x: Tensor, s: State) -> Tensor:
    for block in (1, 2):
        for place, stride, padding in ((1, 2, 1), (2, 1, 0), (3, 1, 0)):
            name = f"{block}_{place}"
            x = F.conv2d(x, s[f"conv{name}.weight"], s[f"conv{name}.bias"], stride, padding)
            x = F.relu(norm(x, s, f"norm{name}"))
    return F.relu(norm(F.conv2d(x, s["conv_out.weight"], s["conv_out.bias"]), s, "norm_out")).mean((2, 3))


def vgg(x: Tensor, s: State) -> Tensor:
    for block in (1, 2):
        for name in (f"{block}_1", f"{block}_2"):
            x = F.conv2d(x, s[f"conv{name}.weight"], s[f"conv{name}.bias"], padding=1)
            x = F.relu(norm(x, s, f"norm{name}") if f"norm{name}.weight" in s else x)
        x = F.max_pool2d(x, 2)
    return F.linear(x.flatten(1), s["fc.weight"], s["fc.bias"])


def residual(x: Tensor, s: State) -> Tensor:
    x = F.relu(norm(F.conv2d(x, s["conv.weight"], padding=1), s, "norm"))
    for path in dict.fromkeys(name.rsplit(".", 2)[0] for name in s if ".conv1." in name):
        weight = s[f"{path}.conv1.weight"]
        stride = 1 if path.startswith("stages.block1") or path.endswith("_2") else 2
        body = F.relu(norm(F.conv2d(x, weight, stride=stride, padding=1), s, f"{path}.norm1"))
        body = norm(F.conv2d(body, s[f"{path}.conv2.weight"], padding=1), s, f"{path}.norm2")
        if f"{path}.shortcut.0.weight" in s:
            x = norm(F.conv2d(x, s[f"{path}.shortcut.0.weight"], stride=stride), s, f"{path}.shortcut.1")
        else:  # the paper's option A
            x = x[:, :, ::stride, ::stride]
            x = torch.cat([x, torch.zeros_like(body)[:, x.shape[1] :]], 1)
        x = F.relu(body + x)
    return F.linear(x.mean((2, 3)), s["fc.weight"], s["fc.bias"])


def vit(x: Tensor, s: State) -> Tensor:
    """By torch's own patches and encoder layers."""
    tokens = F.linear(F.unfold(x, 4, stride=4).transpose(1, 2), s["embed.weight"], s["embed.bias"])
    angle = torch.tensor([0, 1e-4], dtype=x.dtype)  # the column's and the row's: of patch 0 or 1, frequency 1 or 1e-4
    angle = torch.stack([torch.zeros(2, dtype=x.dtype), angle + torch.tensor([1.0, 0.0], dtype=x.dtype)])
    for patch in range(4):
        column, row = angle[patch % 2], angle[patch // 2]
        tokens[:, patch] += torch.cat([column.sin(), column.cos(), row.sin(), row.cos()]).float()
    for path in ("blocks.0", "blocks.1"):
        layer = nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True).double()
        parts = [[s[f"{path}.attention.{p}.{kind}"] for p in ("query", "key", "value")] for kind in ("weight", "bias")]
        own = {"self_attn.in_proj_weight": torch.cat(parts[0]), "self_attn.in_proj_bias": torch.cat(parts[1])}
        names = {"attention.out": "self_attn.out_proj", "fc1": "linear1", "fc2": "linear2", "norm1": "norm1",
                 "norm2": "norm2"}  # fmt: skip
        own |= {f"{to}.{kind}": s[f"{path}.{name}.{kind}"] for name, to in names.items() for kind in ("weight", "bias")}
        layer.load_state_dict(own)
        tokens = layer.train()(tokens)
    mean = F.layer_norm(tokens, (8,), s["norm.weight"], s["norm.bias"]).mean(1)
    return F.linear(mean, s["fc.weight"], s["fc.bias"])


@pytest.mark.parametrize(
    ("name", "options", "written_out"),
    [
        ("nin", {}, nin), ("vgg", {}, vgg), ("vgg", {"norm": "none"}, vgg), ("resnet", {}, residual),
        ("resnet18", {}, residual), ("vit", {}, vit),
    ],
)  # fmt: skip
def test_is_what_it_says(name: str, options: dict[str, Any], written_out: Callable[[Tensor, State], Tensor]) -> None:
    x = images()
    model = moved(network(name, **options), x)
    with torch.no_grad():
        expected = written_out(x, model.state_dict())
        torch.testing.assert_close(model(x), expected, rtol=1e-10, atol=1e-10)
    assert expected.std(0).max() > 1e-2, "a network that says the same of every image would equal many"


@pytest.mark.parametrize(("activation", "written"), [
    ("relu", F.relu), ("tanh", torch.tanh), ("gelu", F.gelu), ("silu", F.silu), ("leaky_relu", F.leaky_relu),
    ("softplus", F.softplus),
])  # fmt: skip
def test_activations_are_torch_s(activation: str, written: Callable[[Tensor], Tensor]) -> None:
    """Values, and two derivatives; all of the activations there are."""
    assert set(SMALL["mlp"]) == {"dropout", "activation"} and len(ACTIVATIONS) == 6
    x = torch.cat([torch.linspace(-30, 30, 101), torch.tensor([1e-3, 1e3, -1e3])]).double().requires_grad_()
    for found, expected in zip(derivatives(ACTIVATIONS[activation](), x), derivatives(written, x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=3e-9)  # torch's softplus is x from 20 on
    model, y = network("mlp", activation=activation).eval(), images()
    s = model.state_dict()
    h = written(F.linear(y.flatten(1), s["fc1.weight"], s["fc1.bias"]))
    h = written(F.linear(h, s["fc2.weight"], s["fc2.bias"]))
    torch.testing.assert_close(model(y), F.linear(h, s["fc3.weight"], s["fc3.bias"]))


def derivatives(function: Callable[[Tensor], Tensor], x: Tensor) -> list[Tensor]:
    value = function(x)
    (first,) = torch.autograd.grad(value.sum(), [x], create_graph=True)
    second = torch.autograd.grad(first.sum(), [x])[0] if first.requires_grad else torch.zeros_like(x)
    return [value, first, second]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_has_the_same_bits_wherever_a_number_stands(activation: str, dtype: torch.dtype) -> None:
    """Else the bits of a network would depend on those beside it in the stack."""
    function = ACTIVATIONS[activation]()
    x = 2 * torch.randn(500, generator=torch.Generator().manual_seed(0), dtype=dtype)
    whole = [t.detach() for t in derivatives(function, x.requires_grad_())][:2]
    for start in (0, 1, 3, 100):
        for n in range(1, 40):
            part = slice(start, start + n)
            some = derivatives(function, x.detach()[part].clone().requires_grad_())[:2]
            assert all(torch.equal(a, b[part]) for a, b in zip(some, whole, strict=True))
    alone = [derivatives(function, one.clone().requires_grad_())[:2] for one in x.detach().split(1)]
    assert all(torch.equal(torch.cat(a), b) for a, b in zip(zip(*alone, strict=True), whole, strict=True))


def test_sizes_are_the_published_ones() -> None:
    """Counted by hand; He et al. 2016 print 0.27 million for depth 20."""

    def count(name: str, **options: Any) -> int:
        config = config_from_dict({"dataset": "cifar10", "model": {name: options}})
        return sum(p.numel() for p in build_model(config).parameters())

    blocks = [(16, 16)] * 3 + [(16, 32)] + [(32, 32)] * 2 + [(32, 64)] + [(64, 64)] * 2
    weights = 3 * 16 * 9 + sum(9 * a * b + 9 * b * b for a, b in blocks) + 64 * 10 + 10
    assert count("resnet") == weights + 2 * (16 + 2 * sum(b for _, b in blocks)) == 269_722
    assert count("nin") == (27 + 1) * 200 + (1800 + 1) * 200 + 4 * (200 + 1) * 200 + 2010 + 2 * (6 * 200 + 10)


@pytest.mark.parametrize("dataset", ["digits_images", "mnist", "cifar10"])
@pytest.mark.parametrize("name", [name for name in SMALL if name != "lenet5"])
def test_takes_images_of_each_size(name: str, dataset: str) -> None:
    channels, side = {"digits_images": (1, 8), "mnist": (1, 28), "cifar10": (3, 32)}[dataset]
    assert network(name, dataset).eval()(images(2, side, channels)).shape == (2, 10)


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("name", SMALL)
def test_initial_weights_are_of_the_scheme_and_norm_layers_start_at_1_and_0(name: str, init: str) -> None:
    model, plain = network(name, init=init), network(name)
    for path, module in model.named_modules():
        if isinstance(module, NORMS):
            assert (module.weight == 1).all() and (module.bias == 0).all()
        elif isinstance(module, nn.Linear | nn.Conv2d):
            assert init == "default" or not torch.equal(module.weight, plain.get_submodule(path).weight)
            assert init == "default" or module.bias is None or (module.bias == 0).all()
            assert init != "uniform_0.1" or 0.05 < module.weight.abs().max() <= 0.2, "U(-0.1, 0.1) times a gain of 2"


@pytest.mark.parametrize("name", SMALL)
def test_hidden_is_refused_where_it_changes_nothing(name: str) -> None:
    entry, config = MODELS[name], {"dataset": "mnist", "model": {name: SMALL[name]}, "hidden": [6, 5]}
    options = MODELS.options(MODELS.choose({name: SMALL[name]}))
    wide, narrow = (entry.build((1, 28, 28), 10, hidden, **options) for hidden in ((64, 64), (6, 5)))
    same = [p.shape for p in wide.parameters()] == [p.shape for p in narrow.parameters()]
    assert same != entry.reads_hidden
    with pytest.raises(ConfigError, match=r"^hidden: ") if same else contextlib.nullcontext():
        config_from_dict(config)
    config_from_dict({**config, "hidden": [64, 64]})


def test_every_model_is_tried_here() -> None:
    assert SMALL.keys() == set(MODELS)
    for name, entry in MODELS.entries().items():
        assert set(inspect.signature(entry.content.build).parameters) == {
            "shape", "n_classes", "hidden", *entry.options
        }, name  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_every_layer_can_be_measured(name: str) -> None:
    """All weights are layers', and each trace is that of the dense matrix; the Hessian's where the network says so."""
    side = 28 if name == "lenet5" else 8
    x, y = images(6, side), torch.arange(6) % 10
    model = moved(network(name), x)
    found = layer_curvature(model, (x, y))
    weights = [n for n, _ in model.named_parameters() if not n.endswith("bias")]
    assert [f"{path}.weight" for path in found] == weights and not found.left_out
    smooth = name in ("mlp", "vit")
    assert all(layer.exact for layer in found.values()) != smooth
    for path in (next(iter(found)), next(reversed(found))):
        block = gauss_newton_block(model, x, y, mean_loss("cross_entropy"), f"{path}.weight")
        truth = float(trace_matrix(block).trace())
        assert truth > 0 and found[path].trace == pytest.approx(truth, rel=1e-9)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("dataset: digits, model: nin", "model: 'nin': needs images with channels; digits has shape (64,)"),
        ("model: {mlp: {dropout: 1.0}}", "model.mlp.dropout: 1.0: allowed: 0 <= number < 1"),
        ("model: {mlp: {depth: 2}}", "model.mlp.depth: 2: unknown option, allowed: activation, dropout"),
        ("model: {mlp: {activation: elu}}", "model.mlp.activation: 'elu': allowed: relu, tanh, gelu, silu, leaky_relu"),
        ("model: {resnet: {depth: 18}}", "model.resnet.depth: 18: allowed: 8, 14, 20, 32, 44, 56, 110"),
        ("model: {nin: {norm_momentum: 0}}", "model.nin.norm_momentum: 0: allowed: 0 < number <= 1"),
        (
            "model: {nin: {width: 4}}, batch_size: 1",
            "batch_size: 1: allowed with the norm layers of model nin",
        ),
        ("model: {vgg: {depth: 4}}", "model.vgg.depth: 4: allowed: at most 3, as often as 8 x 8 pixels can be halved"),
        ("model: {vit: {patch: 3}}", "model.vit.patch: 3: allowed: a divisor of both sides of 8 x 8 pixels"),
        ("model: {vit: {heads: 3}}", "model.vit.width: 64: allowed: a multiple of 4 and of the 3 heads"),
    ],
)
def test_what_cannot_be_is_one_line_at_plan(
    fields: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = "" if "dataset" in fields else "dataset: digits_images, "
    (tmp_path / "s.yaml").write_text(f"fixed: {{{dataset}{fields}, stops: [epoch_1]}}\nmeasures: [train_loss]\n")
    assert main(["plan", str(tmp_path / "s.yaml"), "--runs", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_the_share_of_a_batch_in_the_statistics_is_an_option() -> None:
    x = images()
    for momentum in (0.1, 1.0):
        model = network("nin", norm_momentum=momentum)
        model.train()(x)
        layer, seen = model.get_submodule("norm1_1"), model.get_submodule("conv1_1")(x)
        torch.testing.assert_close(layer.running_mean, momentum * seen.mean((0, 2, 3)))
