"""Networks and batches as people have them: dicts, `.logits`, transformers, tied weights, frozen backbones."""

from __future__ import annotations

from collections import UserDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from study.curvature import (
    Curvature,
    hessian_relative_flatness,
    hessian_trace,
    hessian_trace_matrix,
    layer_curvature,
    layer_eigenvalues,
)
from study.data.vision import torchvision
from tests.reference.curvature import hessian_block, mean_loss, trace_matrix
from tests.study.curvature.comparison import values

N, T, C = 10, 6, 3


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None = None


class Classifier(nn.Module):
    """In the style of a Hugging Face model: keyword arguments in, an object with `.logits` out."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.body, self.head = nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, C)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None) -> Output:
        x = self.body(self.embed(input_ids)).relu()
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        logits = self.head((x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True))
        return Output(logits, None if labels is None else nn.functional.cross_entropy(logits, labels))


def classifier() -> tuple[nn.Module, dict[str, Tensor]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mask = (torch.arange(T) < torch.randint(1, T + 1, (N, 1))).long()
        batch = {"input_ids": torch.randint(20, (N, T)), "attention_mask": mask, "labels": torch.randint(C, (N,))}
        return Classifier().double().eval(), batch


class Logits(nn.Module):
    """The classifier as a function of what can be given as it stands."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.model(input_ids, attention_mask).logits


def logits(model: nn.Module, batch: Any) -> Tensor:
    return model(**batch).logits


def labels(batch: Any) -> Tensor:
    return batch["labels"]


class Named(NamedTuple):
    x: Tensor
    y: Tensor


def test_a_dict_of_a_batch_and_an_output_with_logits() -> None:
    """Beside the full Hessian; whole, in batches, in a loader, with texts, flags and None beside the tensors."""
    model, batch = classifier()
    inputs = (batch["input_ids"], batch["attention_mask"])
    expected = layer_curvature(model, batch, layers=["body", "head"], forward=logits, target=labels)
    for name, found in expected.items():
        block = hessian_block(
            Logits(model), inputs, batch["labels"], mean_loss("cross_entropy"), f"model.{name}.weight"
        )
        torch.testing.assert_close(found.trace_matrix, trace_matrix(block), rtol=1e-9, atol=1e-12)

    class Rows(Dataset):
        def __len__(self) -> int:
            return N

        def __getitem__(self, at: int) -> dict[str, Tensor]:
            return {name: value[at] for name, value in batch.items()}

    parts = [{name: value[at : at + 4] for name, value in batch.items()} for at in (0, 4, 8)]
    texts = [{**part, "output_attentions": None, "text": ["a"] * len(part["labels"])} for part in parts]
    others: list[Any] = [
        parts,
        texts,
        [UserDict(part) for part in parts],
        DataLoader(Rows(), batch_size=4),
        iter(parts),
    ]
    others.append([{**part, "input_ids": part["input_ids"].numpy()} for part in parts])

    def forward(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
        assert inputs.get("output_attentions") is None and "text" not in inputs
        return model(inputs["input_ids"], inputs["attention_mask"]).logits

    for data in others:
        found = layer_curvature(
            model, data, layers=["body", "head"], forward=forward, target=labels, memory_budget=10**6
        )
        assert values(found).keys() == values(expected).keys()
        for name in found:
            assert values(found)[name] == pytest.approx(values(expected)[name], rel=1e-9)


def test_tuples_of_any_length_and_nested_ones() -> None:
    model, batch = classifier()
    expected = values(layer_curvature(model, batch, layers=["body"], forward=logits, target=labels))
    ids, mask, y = batch["input_ids"], batch["attention_mask"], batch["labels"]
    given: list[tuple[Any, Any, Any]] = [
        ((ids, mask, y), lambda model, b: model(b[0], b[1]).logits, lambda b: b[2]),
        ([(ids, mask, y)], lambda model, b: model(b[0], b[1]).logits, lambda b: b[2]),
        ([[ids, {"mask": mask, "more": (y, 3)}]], lambda model, b: model(b[0], b[1]["mask"]).logits,
         lambda b: b[1]["more"][0]),
        (({"input_ids": ids, "attention_mask": mask}, y), lambda model, inputs: model(**inputs).logits, None),
        ([Named(ids * mask, y)], lambda model, b: model(b.x, (b.x > 0).long() + 0 * b.x).logits, lambda b: b.y),
    ]  # fmt: skip
    for data, forward, target in given[:4]:
        assert values(layer_curvature(model, data, layers=["body"], forward=forward, target=target)) == expected
    data, forward, target = given[4]
    assert layer_curvature(model, data, layers=["body"], forward=forward, target=target)["body"].n_samples == N


def test_a_tensor_is_a_batch_whose_targets_are_made_of_it() -> None:
    """An autoencoder."""
    torch.manual_seed(0)
    x = torch.randn(N, 4, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 4)).double()
    expected = values(layer_curvature(model, (x, x), "squared_error"))
    assert values(layer_curvature(model, x, "squared_error", target=lambda x: x)) == expected
    halves = values(layer_curvature(model, [x[:4], x[4:]], "squared_error", target=lambda x: x))
    assert halves["0"] == pytest.approx(expected["0"])


def test_all_functions_take_forward_and_target() -> None:
    model, batch = classifier()
    options: dict[str, Any] = {"forward": logits, "target": labels}
    truth = layer_curvature(model, batch, layers=["head"], **options)["head"]
    trace = hessian_trace(model, batch, layers=["head"], method="exact", **options)["head"]
    assert trace.value == pytest.approx(truth.trace)
    assert hessian_trace_matrix(model, batch, layer="head", **options).trace() == pytest.approx(truth.trace)
    assert hessian_relative_flatness(model, batch, layers=["head"], **options).keys() == {"head"}
    assert layer_eigenvalues(model, batch, layers=["head"], **options)["head"].lambda_max < truth.trace
    with Curvature(model, batch, **options) as matrix:
        assert matrix.product(torch.ones(1, matrix.n)).isfinite().all()


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ("batch", {"target": labels}, r"the model returned Output; .* such as by forward=.*\.logits"),
        ("batch", {"forward": logits, "target": "labels"}, "target is a str, not a function"),
        ("batch", {"forward": logits, "target": lambda b: 3}, "target gives a int; a tensor of targets is needed"),
        ("parts", {"forward": logits}, "a batch is a dict, not .*: say `target=` what it is"),
        ("flags", {"forward": logits, "target": labels}, "batches hang together in two ways"),
        ("text", {"forward": logits, "target": labels}, "without tensors"),
        ("nothing", {"target": labels}, "data is a NoneType, neither a batch nor an iterable of batches"),
    ],
)
def test_batches_that_cannot_be_read_are_named(data: str, options: dict, message: str) -> None:
    model, batch = classifier()
    given = {
        "batch": batch, "parts": [batch], "flags": [{**batch, "flag": True}, {**batch, "flag": False}],
        "text": [{"labels": "a"}], "nothing": None,
    }  # fmt: skip
    if data == "text":
        options = {**options, "target": lambda b: torch.zeros(1)}
    with pytest.raises(ValueError, match=message):
        layer_curvature(model, given[data], layers=["body"], **options)


def test_supported_layers_of_a_transformer_and_what_is_left_out() -> None:
    torch.manual_seed(0)
    model = torchvision().models.VisionTransformer(
        image_size=8, patch_size=4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=C
    )
    nn.init.normal_(model.heads.head.weight)
    model, x, y = model.double().eval(), torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.randint(C, (4,))
    with pytest.raises(ValueError, match=r"'\(the model itself\)' of type VisionTransformer .* layers='supported'"):
        layer_curvature(model, (x, y))
    found = layer_curvature(model, (x, y), layers="supported")
    attention = {f"encoder.layers.encoder_layer_{i}.self_attention{o}" for i in (0, 1) for o in ("", ".out_proj")}
    assert found.left_out.keys() == {"", "encoder", *attention}
    assert found.left_out[""] == "of type VisionTransformer holds parameters class_token and cannot be treated exactly"
    assert "in_proj_weight" in found.left_out["encoder.layers.encoder_layer_0.self_attention"]
    assert (
        "otherwise than through the module" in found.left_out["encoder.layers.encoder_layer_0.self_attention.out_proj"]
    )
    for name in (
        "conv_proj",
        "encoder.layers.encoder_layer_0.mlp.0",
        "encoder.layers.encoder_layer_1.ln_1",
        "encoder.ln",
    ):
        truth = hessian_trace_matrix(model, (x, y), layer=name, kind="gauss_newton")
        torch.testing.assert_close(found[name].trace_matrix, truth, rtol=1e-8, atol=1e-12)
    assert len(found) == 11 and found["heads.head"].kind == "hessian"
    assert layer_curvature(nn.Linear(4, C), (x[:, 0, 0, :4].float(), y), layers="supported").left_out == {}
    with pytest.raises(ValueError, match="layer '0' of type PReLU"):
        layer_curvature(nn.Sequential(nn.PReLU()), (x, y), layers="supported")


class Language(nn.Module):
    """An embedding whose weight is the head's."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.body, self.head = nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, 20, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.embed(x)).mean(1))


def test_a_head_tied_to_an_embedding_is_refused_and_the_rest_measured() -> None:
    torch.manual_seed(0)
    model, x, y = Language(), torch.randint(20, (N, T)), torch.randint(20, (N,))
    shared = "layer 'head' of type Linear shares its weight with 'embed' of type Embedding"
    with pytest.raises(ValueError, match=shared):
        layer_curvature(model, (x, y), layers=["head"])
    found = layer_curvature(model, (x, y), layers="supported")
    assert list(found) == ["body"] and found.left_out.keys() == {"embed", "head"}
    assert hessian_trace(model, (x, y), n_products=6).keys() == {"embed", "body"}


class Frozen(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.backbone, self.unused, self.head = how, nn.Linear(4, 5), nn.Linear(4, 2), nn.Linear(5, C)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "detach":
            return self.head(self.backbone(x).relu().detach())
        with torch.inference_mode() if self.how == "inference" else torch.no_grad():
            features = self.backbone(x).relu()
        self.unused(x)
        return self.head(features.clone())


@pytest.mark.parametrize("how", ["no_grad", "inference", "detach"])
def test_a_backbone_under_no_grad_is_named_and_not_flat(how: str) -> None:
    torch.manual_seed(0)
    model, x, y = Frozen(how), torch.randn(N, 4), torch.randint(C, (N,))
    hidden = "where autograd does not see it"
    for layers in (None, ["backbone"]):
        with pytest.raises(ValueError, match=f"layer 'backbone' of type Linear acts on the outputs {hidden}"):
            layer_curvature(model, (x, y), layers=layers)
        with pytest.raises(ValueError, match=f"parameter 'backbone.weight' acts on the outputs {hidden}"):
            hessian_trace(model, (x, y), layers=layers)
    found = layer_curvature(model, (x, y), layers="supported")
    assert list(found) == ["unused", "head"] and found.left_out.keys() == {"backbone"}
    assert found["unused"].trace == 0 and found["head"].trace > 0
    for parameter in model.backbone.parameters():
        parameter.requires_grad_(False)
    model.how = "with gradients"


def test_a_layer_by_any_of_its_names() -> None:
    model = nn.Module()
    model.first = nn.Linear(4, C)
    model.blocks = nn.ModuleList([model.first])
    model.forward = lambda x: model.first(x)  # type: ignore[method-assign]
    data = (torch.randn(N, 4), torch.randint(C, (N,)))
    expected = values(layer_curvature(model, data))
    assert values(layer_curvature(model, data, layers=["blocks.0"])) == expected
    assert list(expected) == ["first"]


def test_options_may_be_numbers_of_numpy() -> None:
    model, batch = nn.Linear(4, 5), (torch.randn(N, 4), torch.randint(5, (N,)))
    expected = layer_curvature(model, batch, columns=3, memory_budget=10**8, seed=1)[""].trace
    options: dict[str, Any] = {"columns": np.int64(3), "memory_budget": np.int64(10**8), "seed": np.int64(1)}
    assert layer_curvature(model, batch, **options)[""].trace == expected
    assert layer_curvature(model, batch, columns=np.float32(0.5))[""].trace > 0
    trace = hessian_trace(model, batch, n_products=np.int64(6), seed=np.int64(1), memory_budget=np.int64(10**6))
    assert trace == hessian_trace(model, batch, n_products=6, seed=1, memory_budget=10**6)
