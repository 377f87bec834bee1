"""The GPU's script, by parts that a CPU can do: each in its time, each recorded, whatever becomes of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.benchmarks import convolution, gpu
from tests.benchmarks.gpu import ROOT, Part


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("layer", convolution.LAYERS)
def test_both_kernels_of_a_convolution_agree(layer: str, device: str) -> None:
    n_in, n_out, side, padding = convolution.LAYERS[layer]
    shapes = ((3, 2, n_in, side, side), (3, n_out, n_in, 5, 5), (3, n_out))
    torch.manual_seed(0)
    tensors = [torch.randn(shape, dtype=torch.float64, device=device).requires_grad_() for shape in shapes]
    made = [kernel(*tensors, padding) for kernel in (convolution.grouped, convolution.unfolded)]
    torch.testing.assert_close(*made, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(y.square().sum(), tensors) for y in made]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_every_part_is_recorded_in_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tmp_path / "found.json"

    def parts(device: str, scratch: Path) -> list[Part]:
        write = f"import pathlib; pathlib.Path({str(found)!r}).write_text('[1]'); print('well')"
        return [
            Part("good", ("-c", write), 30, found),
            Part("bad", ("-c", "raise SystemExit('no: ' + 'x' * 9999)"), 30),
            Part("missing", ("-c", "print('2 values recorded as missing')"), 30, fault=gpu.MISSING),
            Part("late", ("-c", "import time; print('begun', flush=True); time.sleep(60)"), 2),
        ]

    monkeypatch.setattr(gpu, "parts", parts)
    out = tmp_path / "gpu.json"
    assert gpu.main(["--device", "cpu", "--out", str(out)]) == 1
    measured = json.loads(out.read_text())
    good, bad, missing, late = measured["parts"]
    assert missing["status"] == 1
    assert measured["device"].startswith("cpu") and measured["commit"]
    assert (good["status"], good["result"], good["said"]) == (0, [1], "well\n")
    assert bad["status"] == 1 and len(bad["said"]) == gpu.TAIL
    assert late["status"] is None and late["said"] == "begun\n" and late["seconds"] < 30
    assert gpu.main(["--device", "cpu", "--out", str(out), "--only", "good"]) == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(["--device", "cuda:99"], "'cuda:99'"), (["--device", "tpu"], "'tpu': allowed: cpu, cuda"),
     (["--device", "cpu", "--minutes", "0"], "--minutes: 0.0: allowed"),
     (["--device", "cpu", "--only", "nothing"], "--only: 'nothing': allowed: tests, ")],
)  # fmt: skip
def test_a_mistake_is_one_line(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "_images", lambda scratch: scratch)
    assert gpu.main(arguments) == 2
    said = capsys.readouterr().err
    assert text in said and said.count("\n") == 1


def test_few_packages_are_enough() -> None:
    """What it imports, and the tests that it starts: torch, torchvision, numpy, scipy, PyYAML and pytest."""
    code = (
        "import sys\n"
        "for name in 'wandb submitit seaborn pandas sklearn rich matplotlib jinja2 hypothesis'.split():\n"
        "    sys.modules[name] = None\n"
        "import importlib, tests.conftest, tests.benchmarks.gpu as gpu\n"
        "for name in ('tests.benchmarks.training', 'tests.benchmarks.convolution', 'tests.benchmarks.curvature'):\n"
        "    importlib.import_module(name)\n"
        "for name in gpu.TESTS:\n"
        "    importlib.import_module(name.removesuffix('.py').replace('/', '.'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_test_for_a_gpu_is_among_those_it_runs() -> None:
    marked = {p.relative_to(ROOT).as_posix() for p in (ROOT / "tests").rglob("test_*.py")
              if "mark.gpu" in p.read_text(encoding="utf-8")}  # fmt: skip
    assert marked == set(gpu.TESTS)


def test_the_pins_for_a_gpu_are_those_of_the_environment() -> None:
    def pins(path: str) -> dict[str, str]:
        lines = [line.partition("#")[0].strip() for line in (ROOT / path).read_text(encoding="utf-8").splitlines()]
        return dict(line.split("==") for line in lines if line)  # each is pinned exactly

    ours, all_of_them = pins("slurm/requirements-cuda.txt"), pins("requirements.txt")
    assert {"torch", "torchvision", "numpy", "scipy", "PyYAML", "pytest"} == ours.keys() & all_of_them.keys()
    assert all(ours[name] == all_of_them[name] for name in ours.keys() & all_of_them.keys())
