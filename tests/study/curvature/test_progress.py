"""What a long call says on stderr while it runs."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from study.curvature import layer_curvature
from study.curvature.progress import duration
from tests.study.curvature.comparison import small, values


@pytest.mark.parametrize(
    ("options", "passes"),
    [
        ({}, "2 forward and 2 backward"),
        ({"normalized": False}, "1 forward and 2 backward"),
        ({"columns": 0.1}, "2 forward and at most 2 backward"),
        ({"loss": torch.nn.functional.cross_entropy}, "2 forward and 2 backward"),
    ],
)
@pytest.mark.parametrize("has_rich", [True, False])
def test_it_says_what_it_costs_and_how_far_it_is(
    options: dict[str, Any], passes: str, has_rich: bool, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if not has_rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    model, x, y = small(40)
    expected = values(layer_curvature(model, (x, y), **options))
    assert capsys.readouterr() == ("", "")
    for data in ((x, y), DataLoader(TensorDataset(x, y), batch_size=16)):
        found = layer_curvature(model, data, progress=True, **options)
        assert values(found).keys() == expected.keys()
        out, told = capsys.readouterr()
        assert out == ""
        first, *later = told.splitlines()
        assert re.fullmatch(rf"3 layers, 40 samples: {passes} passes, 40 samples and \d+ MB at a time", first)
        assert re.fullmatch(r"40 of 40 samples in \d+ s, 0 s left", later[-1])


def test_of_a_stream_the_number_of_samples_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    model, x, y = small(40)

    class Stream:
        def __iter__(self) -> Any:
            yield from zip(x.split(10), y.split(10), strict=True)

    layer_curvature(model, Stream(), progress=True)
    first, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith("3 layers, an unknown number of samples: 2 forward and 2 backward passes")


def test_on_a_terminal_there_is_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    model, x, y = small(40)
    layer_curvature(model, (x, y), progress=True)
    told = capsys.readouterr().err
    assert "40/40" in told and "samples," in told


def test_durations_are_for_people() -> None:
    assert [duration(seconds) for seconds in (0.4, 89, 600, 9000)] == ["0 s", "89 s", "10 min", "2.5 h"]
