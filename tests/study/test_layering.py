"""One direction: what may be imported where, read from the sources themselves."""

import ast
import itertools
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
# Inside a package: a module may import what stands before it, and what is of its own room.
STUDY = (
    ("device", "names"), ("arguments", "choice", "curvature", "display", "provenance", "seeds", "storage"),
    ("data", "loss", "models"), ("transforms",), ("field", "measures", "seams"), ("config",),
    ("hyperparameter", "state", "study_file", "training"), ("grid", "measuring", "slices"), ("ledger",),
    ("again", "archive", "audit", "records", "reference", "run"), ("publishing", "tracking"), ("planning",),
    ("commands",), ("__main__",),
)  # fmt: skip
ANALYSIS = (
    ("columns", "csv_file"), ("exclude", "load", "simulated", "vocabulary"), ("statistics",),
    ("selection", "stopwise"),
    ("drawing",), ("figures", "tables"), ("cache", "items"), ("studies",), ("make", "reference", "verify"),
    ("manuscript", "page"), ("commands", "wandb_report", "wandb_upload"), ("__main__",),
)  # fmt: skip
STATISTICS = (
    ("resampling",), ("association",),
    ("grid", "invariance", "redundancy", "reparameterization", "stability"), ("selection",), ("beside",),
)  # fmt: skip
ORDERS = {"study": STUDY, "analysis": ANALYSIS, "analysis.statistics": STATISTICS}
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


def modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file, of every module of the project but its tests; a package is its __init__."""
    files = [path for part in ("study", "slurm", "analysis") for path in sorted((root / part).rglob("*.py"))]
    names = [path.relative_to(root).with_suffix("").parts for path in files]
    return {".".join(n[:-1] if n[-1] == "__init__" else n): path for n, path in zip(names, files, strict=True)}


def imports(root: Path) -> dict[str, set[str]]:
    """Module -> the modules of the project that it imports: anywhere in it, also for types alone."""
    known = modules(root)
    graph: dict[str, set[str]] = {}
    for module, path in known.items():
        package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
        asked: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                asked |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                above = package[: len(package) - node.level + 1] if node.level else []
                base = ".".join([*above, *(node.module.split(".") if node.module else [])])
                # A name in a package is its module, where there is one; else the package itself has it.
                asked |= {f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names}
        graph[module] = (asked & known.keys()) - {module}
    return graph


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules that import each other, directly or by way of others."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = list(graph[start])
        while ahead:
            if (module := ahead.pop()) not in seen:
                seen.add(module)
                ahead += graph[module]
        return seen

    reached = {module: reach(module) for module in graph}
    found = {
        frozenset(m for m in there if module in reached[m]) for module, there in reached.items() if module in there
    }
    return sorted(map(set, found), key=min)


def places() -> dict[str, int]:
    """Room -> its floor in its package."""
    floors = [(package, *floor) for package, order in ORDERS.items() for floor in enumerate(order)]
    return {f"{package}.{room}": at for package, at, rooms in floors for room in rooms}


def room_of(module: str, package: str) -> str:
    """The room of a package that a module is in; empty for the package itself and all that is elsewhere."""
    inner = module.removeprefix(f"{package}.")
    return f"{package}.{inner.split('.')[0]}" if inner != module else ""


def against_the_order(graph: dict[str, set[str]]) -> list[str]:
    """Imports inside a package of ORDERS that lead up, or across to a room that stands beside."""
    place = places()
    found = []
    for package, (module, targets) in itertools.product(ORDERS, graph.items()):
        for target in targets:
            own, other = (room_of(name, package) for name in (module, target))
            if own in place and other in place and own != other:
                found += [f"{module} imports {target}"] if place[own] <= place[other] else []
    return sorted(found)


def test_each_package_follows_its_own_direction() -> None:
    """From the ground to configs, from those to runs; from columns to statistics, to tables and figures, to pages."""
    graph = imports(ROOT)
    rooms = {room_of(name, package) for package in ORDERS for name in graph} - {""}
    assert rooms == set(places()), "every room has its place"
    assert against_the_order(graph) == []


def test_nothing_is_imported_in_a_circle() -> None:
    """Not under TYPE_CHECKING and not inside functions either."""
    assert circles(imports(ROOT)) == []


def test_the_test_sees_an_arrow_up_and_a_circle(tmp_path: Path) -> None:
    for name, text in {
        "analysis/__init__.py": "",
        "analysis/columns.py": "",
        "analysis/statistics/pairs.py": "from analysis import columns\nfrom analysis.tables.cost import build\n",
        "analysis/tables/cost.py": "from analysis.figures.forest import build\n",
        "analysis/figures/forest.py": "def f():\n    from analysis.statistics import pairs\n",
        "analysis/statistics/resampling/draws.py": "from analysis.statistics.grid import axis\n",
        "analysis/statistics/grid/axis.py": "",
        "study/run.py": "if TYPE_CHECKING:\n    from .planning.plan import Plan\n",
        "study/planning/plan.py": "from study import run\n",
        "slurm/job.py": "import study.run\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    graph = imports(tmp_path)
    assert graph["analysis.statistics.pairs"] == {"analysis.columns", "analysis.tables.cost"}
    assert against_the_order(graph) == [
        "analysis.statistics.pairs imports analysis.tables.cost",
        "analysis.statistics.resampling.draws imports analysis.statistics.grid.axis",
        "analysis.tables.cost imports analysis.figures.forest",
        "study.run imports study.planning.plan",
    ]
    assert circles(graph) == [
        {"analysis.figures.forest", "analysis.statistics.pairs", "analysis.tables.cost"},
        {"study.planning.plan", "study.run"},
    ]


def test_imports_follow_the_direction() -> None:
    assert violations(ROOT) == []


def test_the_curvature_library_imports_nothing_else_of_the_project() -> None:
    assert outside(ROOT) == []


def test_rooms_of_the_curvature_library_import_those_before_them() -> None:
    """Losses and networks know nothing of one another; blocks take both, and the matrix all three."""
    known = {"losses": set(), "networks": set(), "blocks": {"losses", "networks"}}
    known["matrix"] = {*known, "blocks"}
    for room, allowed in known.items():
        for path in (ROOT / "study/curvature" / room).glob("*.py"):
            found = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom) and n.level == 2]
            taken = {(node.module or "").partition(".")[0] for node in found} - {"options", "progress"}
            assert taken <= allowed, f"{path.relative_to(ROOT)} imports {sorted(taken - allowed)}"


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
