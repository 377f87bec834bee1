"""The library as a stranger has it: built, installed into an environment of its own, and its document run there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.benchmarks import document

ROOT = Path(__file__).parents[3]
README = (ROOT / "study/curvature/README.md").read_text()
PIP = (sys.executable, "-m", "pip")
EXAMPLES = re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", README, re.DOTALL)

# Runs blocks of code, given as JSON, one after another in one namespace, and prints what each printed. torchvision is
# imported first, the way that the study does it: beside a CPU build of torch a plain import may fail.
RUN = f"""
import contextlib, importlib.util, io, json, sys
spec = importlib.util.spec_from_file_location("vision", {str(ROOT / "study/data/vision.py")!r})
vision = importlib.util.module_from_spec(spec)
spec.loader.exec_module(vision)
vision.torchvision()
names, shown = {{}}, []
for block in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(block, "README.md", "exec"), names)
    shown.append(out.getvalue())
print(json.dumps(shown))
"""


def call(*words: object, folder: Path, stdin: str = "") -> str:
    """The output of a command that is run in a folder, none of this project's settings in its environment."""
    done = subprocess.run(
        [str(word) for word in words], cwd=folder, input=stdin, capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what the wheel is made from: building leaves files where it is done."""
    source = tmp_path_factory.mktemp("source")
    for path in (ROOT / "pyproject.toml", ROOT / "LICENSE", *sources()):
        (source / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        (source / path.relative_to(ROOT)).write_bytes(path.read_bytes())
    built = source / "wheel"
    call(
        *PIP, "wheel", "--quiet", "--no-build-isolation", "--no-deps", "--no-index", "-w", built, source, folder=source
    )
    (found,) = built.iterdir()
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment that holds the wheel, and sees the packages of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin/python"
    call(*PIP, "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel, folder=folder)
    (site,) = folder.glob("lib/*/site-packages")
    (site / "here.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def sources() -> list[Path]:
    return [p for p in sorted((ROOT / "study/curvature").rglob("*")) if p.suffix in (".py", ".md", ".typed")]


def test_the_wheel_holds_the_library_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        told = Parser().parsestr(archive.read(metadata).decode())
    expected = {f"relative_flatness/{path.relative_to(ROOT / 'study/curvature').as_posix()}" for path in sources()}
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert "relative_flatness/py.typed" in names
    assert [need for need in told.get_all("Requires-Dist") if "extra" not in need] == ["torch>=2.6"]
    assert (told["Name"], told["License-Expression"]) == ("relative-flatness", "MIT")
    assert told.get_payload().strip() == README.strip(), "the long description is the README"


def test_importing_it_imports_torch_alone(python: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.util, json, sys, torch\n"
        "before = set(sys.modules)\n"
        "import relative_flatness\n"
        "added = {name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names\n"
        "print(json.dumps([sorted(added), importlib.util.find_spec('study') is None, relative_flatness.__version__,\n"
        "                  relative_flatness.__file__]))\n"
    )
    added, is_alone, version, place = json.loads(call(python, "-c", code, folder=tmp_path))
    assert set(added) <= {"relative_flatness", "torch"}
    assert is_alone, "the study can be imported where only the library was installed"
    assert place.startswith(str(python.parents[1]))
    from study import curvature

    assert version == curvature.__version__


def test_it_measures_without_numpy_and_scipy_and_says_where_they_are_needed(python: Path, tmp_path: Path) -> None:
    code = (
        "import sys, warnings\n"
        "sys.modules['numpy'] = sys.modules['scipy'] = None\n"
        "warnings.simplefilter('ignore')  # torch's own, about numpy\n"
        "import torch\n"
        "from relative_flatness import Curvature, hessian_trace, layer_curvature, layer_eigenvalues, spectral_density\n"
        "model, data = torch.nn.Linear(10, 3), (torch.randn(8, 10), torch.zeros(8, dtype=torch.long))\n"
        "assert layer_curvature(model, data)[''].trace > 0\n"
        "assert hessian_trace(model, data)[''].value > 0\n"
        "assert layer_eigenvalues(torch.nn.Linear(10, 2), data)[''].lambda_max > 0  # so few weights need no Lanczos\n"
        "with Curvature(model, data) as matrix:\n"
        "    assert spectral_density(matrix)[1].sum().isclose(torch.ones((), dtype=torch.float64))\n"
        "try:\n"
        "    layer_eigenvalues(model, data)\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    said = "eigenvalues need scipy, which is not installed: pip install scipy\n"
    assert call(python, "-c", code, folder=tmp_path) == said


@pytest.mark.slow
def test_the_document_prints_what_it_says(python: Path, tmp_path: Path) -> None:
    """Where this fails, paste the output that it names below the block."""
    assert len(EXAMPLES) >= 6
    printed = json.loads(call(python, "-c", RUN, folder=tmp_path, stdin=json.dumps([code for code, _ in EXAMPLES])))
    for (code, shown), output in zip(EXAMPLES, printed, strict=True):
        assert NUMBER.sub("", output).split() == NUMBER.sub("", shown).split(), f"{code}\nprints\n{output}"
        for new, old in zip(NUMBER.findall(output), NUMBER.findall(shown), strict=True):
            last_digit = 10.0 ** -len(old.partition(".")[2])
            assert float(new) == pytest.approx(float(old), rel=2e-3, abs=1.01 * last_digit), f"{code}\nprints\n{output}"


NUMBER = re.compile(r"(?<![\w.'])\d+\.\d+")  # integers and signs stay among the words


def test_the_benchmark_is_the_committed_one() -> None:
    """Where this fails, paste what `python -m tests.benchmarks.document` prints between the two markers."""
    (shown,) = re.findall(r"<!-- benchmark: tests/benchmarks/curvature.json -->\n(.*?)<!-- end -->", README, re.DOTALL)
    assert shown == document.section(json.loads(document.COMMITTED.read_text()))


def test_fields_functions_files_and_commands_that_are_named_exist() -> None:
    from dataclasses import fields

    from study import curvature

    for name in curvature.__all__:
        assert f"`{name}" in README, f"{name} is public and not documented"
    result = {field.name for field in fields(curvature.LayerCurvature)}
    rows = re.search(r"\| field \|.*?\n\n", README, re.DOTALL)[0]
    told = "".join(row.split("|")[1] for row in rows.strip().splitlines())
    assert set(re.findall(r"`(\w+)`", told)) == {*result, "kind"}
    named = re.findall(r"`((?:study|tests)/[\w./-]+)`", README)
    assert [name for name in named if not (ROOT / name).exists()] == []
    for target in re.findall(r"`make ([\w-]+)`", README):
        assert f"\n{target}:" in (ROOT / "Makefile").read_text()


def test_options_and_their_defaults_are_those_of_the_function() -> None:
    import inspect

    from study.curvature import layer_curvature

    rows = re.search(r"\| option \|.*?\n\n", README, re.DOTALL)[0].splitlines()[2:]
    told = {cells[1].strip(" `"): cells[2].strip(" `") for cells in (row.split("|") for row in rows if row)}
    parameters = inspect.signature(layer_curvature).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert told.keys() == defaults.keys()
    written = {
        "all": None,
        "the model's": None,
        "the model itself": None,
        "the second of a pair": None,
        '"exact"': "exact",
        "2^31": 2**31,
    }
    assert {name: written.get(text, text) for name, text in told.items()} == {
        name: value if value is None or name in ("columns", "memory_budget") else str(value)
        for name, value in defaults.items()
    }
