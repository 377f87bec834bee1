"""One direction: what may be imported where, read from the sources themselves."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ONLY = {
    "wandb": ("study/tracking/", "analysis/wandb_report.py"),
    "submitit": "slurm/",
    "seaborn": "analysis/",
    "slurm": "slurm/",
    "analysis": "analysis/",
}
PROJECT = {"study", "slurm", "analysis", "tests", "relative_flatness"}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def outside(root: Path) -> list[str]:
    """What study/curvature imports of this project besides itself: absolute names, and relative ones that lead out."""
    found = []
    for path in sorted((root / "study/curvature").rglob("*.py")):
        place = path.relative_to(root)
        deepest = len(place.parts) - 2  # so many dots lead to study/curvature
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level > deepest:
                found.append(f"{place.as_posix()} imports from {'.' * node.level}{node.module or ''}")
        found += [f"{place.as_posix()} imports {name}" for name in sorted(imported(path) & PROJECT)]
    return found


def violations(root: Path) -> list[str]:
    found = []
    for path in sorted(p for part in ("study", "slurm", "analysis") for p in (root / part).rglob("*.py")):
        place = path.relative_to(root).as_posix()
        for name in imported(path) & ONLY.keys():
            if not place.startswith(ONLY[name]):
                found.append(f"{place} imports {name}")
    return found


def test_imports_follow_the_direction() -> None:
    assert violations(ROOT) == []


def test_the_curvature_library_imports_nothing_else_of_the_project() -> None:
    assert outside(ROOT) == []


def test_the_test_sees_an_import_that_leads_out(tmp_path: Path) -> None:
    (tmp_path / "study/curvature/blocks").mkdir(parents=True)
    (tmp_path / "study/curvature/loss.py").write_text(
        "from .layers import x\nfrom ..loss import y\nimport study.data\n"
    )
    (tmp_path / "study/curvature/blocks/exact.py").write_text("from ..loss import x\nfrom ... import names\n")
    assert outside(tmp_path) == [
        "study/curvature/blocks/exact.py imports from ...",
        "study/curvature/loss.py imports from ..loss",
        "study/curvature/loss.py imports study",
    ]


def test_the_test_sees_a_violation(tmp_path: Path) -> None:
    (tmp_path / "study/data").mkdir(parents=True)
    (tmp_path / "study/data/dataset.py").write_text("def f():\n    import wandb\n")
    (tmp_path / "study/grid.py").write_text("from slurm.submit import submit\n")
    assert violations(tmp_path) == ["study/data/dataset.py imports wandb", "study/grid.py imports slurm"]


def test_training_needs_few_packages() -> None:
    """`python -m study run` works where only torch, torchvision, numpy, scipy and PyYAML are installed."""
    code = (
        "import sys\n"
        "for name in ('wandb', 'submitit', 'seaborn', 'pandas', 'rich', 'matplotlib', 'jinja2'):\n"
        "    sys.modules[name] = None\n"
        "import study.__main__, study.run, study.training.population, study.records, study.curvature, study.display\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_planning_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from study.__main__ import main; main(['plan', 'configs/digits_mlp.yaml'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "108 in" in done.stdout
