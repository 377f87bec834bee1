"""A study's networks as one file: the same bytes, all of it checked, and a measure added later needs no training."""

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from study.__main__ import main
from study.config import run_key
from study.grid import load_study
from study.run import run_shard
from study.storage.paths import RunPaths

STUDY = """
fixed: {hidden: [6], batch_size: 100, max_epochs: 3, stops: [epoch_1, epoch_3], momentum: 0}
grid: {lr: [0.05, 1e30]}
measures: [train_loss]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study, one network that was trained, one that diverged, their archive, and hessian_trace."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "s.yaml").write_text(STUDY)
    study = load_study(folder / "s.yaml")
    run_shard(study.runs, ["train_loss", "hessian_trace"], runs_root=folder / "runs")
    assert main(["archive", str(folder / "s.yaml"), str(folder / "s.tar"), "--runs", str(folder / "runs")]) == 0
    return folder


def restore(archive: Path, runs: Path) -> int:
    return main(["restore", str(archive), "--runs", str(runs)])


def files(runs: Path) -> dict[str, bytes]:
    return {p.relative_to(runs).as_posix(): p.read_bytes() for p in runs.glob("[!.]*/**/*") if p.is_file()}


def repacked(
    archive: Path, to: Path, change: Callable[[dict[str, bytes]], None], kind: bytes = tarfile.REGTYPE
) -> Path:
    """The archive with other members, made by hand."""
    with tarfile.open(archive) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]  # all are files
    change(members)
    with tarfile.open(to, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.type = (len(content), kind) if kind == tarfile.REGTYPE else (0, kind)
            tar.addfile(member, io.BytesIO(content))
    return to


def test_a_measure_added_later_is_taken_of_what_was_restored(made: Path, tmp_path: Path) -> None:
    """Archived, lost, restored: nothing is trained, and its value is that of the networks that were lost."""
    runs = tmp_path / "runs"
    assert restore(made / "s.tar", runs) == 0
    study = load_study(made / "s.yaml")
    report = run_shard(study.runs, ["hessian_trace"], runs_root=runs)
    assert not report.trained and report.measured == 2
    paths = [RunPaths(root, run_key(study.runs[0])).stop("epoch_3") for root in (made / "runs", runs)]
    values = [json.loads(p.measure("hessian_trace").read_text())["value"] for p in paths]
    assert values[0] == values[1] > 0
    assert not paths[1].measure("train_loss").exists(), "measures are not in it"


def test_it_is_the_same_bytes_and_says_what_it_is(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made / "runs", tmp_path / "elsewhere")
    again = ["archive", str(made / "s.yaml"), str(tmp_path / "s.tar"), "--runs", str(tmp_path / "elsewhere")]
    assert main(again) == 0
    assert (tmp_path / "s.tar").read_bytes() == (made / "s.tar").read_bytes()
    said = capsys.readouterr().out
    assert "2 runs, 12 files" in said and "sha256 " in said
    assert main(again) == 2 and "is there already" in capsys.readouterr().err
    with tarfile.open(tmp_path / "s.tar") as tar:
        manifest = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
        assert tar.getnames()[0] == "manifest.json" and {m.mtime for m in tar} == {0}
    assert manifest["study"] == "s" and manifest["runs"] == 2 and manifest["commit"]
    assert sorted(manifest["files"]) == list(manifest["files"]) and len(manifest["files"]) == 12


def test_what_is_there_stays_and_what_differs_is_refused(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    assert restore(made / "s.tar", runs) == 0
    before = files(runs)
    lost = next(runs.rglob("init.pt"))
    lost.unlink()
    capsys.readouterr()
    assert restore(made / "s.tar", runs) == 0
    assert "2 runs of s, all checked; 1 files written" in capsys.readouterr().out and files(runs) == before
    lost.unlink()
    other = next(runs.rglob("outcome.json"))
    other.write_text("{}")
    assert restore(made / "s.tar", runs) == 2
    assert f"{other}: differs" in capsys.readouterr().err
    assert not lost.exists() and other.read_text() == "{}"


def cut(archive: Path, to: Path) -> Path:
    to.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    return to


def flipped(archive: Path, to: Path) -> Path:
    content = bytearray(archive.read_bytes())
    content[content.index(b"stops/epoch_1/weights.pt", content.index(b"}\n\0")) + 2000] ^= 1
    to.write_bytes(content)
    return to


def outside(archive: Path, to: Path) -> Path:
    def change(members: dict[str, bytes]) -> None:
        manifest = json.loads(members["manifest.json"])
        name = next(iter(manifest["files"]))
        manifest["files"]["../evil"] = manifest["files"][name]
        members["../evil"] = members[name]
        members["manifest.json"] = json.dumps(manifest).encode()

    return repacked(archive, to, change)


def another_key(archive: Path, to: Path) -> Path:
    def change(members: dict[str, bytes]) -> None:
        keys = sorted({name.split("/")[1] for name in members if "/" in name})
        renamed = {
            name.replace(f"{keys[0][:2]}/{keys[0]}", "ab/ab0123456789"): content for name, content in members.items()
        }
        members.clear()
        members.update(renamed)
        text = members["manifest.json"].decode().replace(f"{keys[0][:2]}/{keys[0]}", "ab/ab0123456789")
        members["manifest.json"] = text.encode()

    return repacked(archive, to, change)


def no_config(archive: Path, to: Path) -> Path:
    def change(members: dict[str, bytes]) -> None:
        name = min(name for name in members if name.endswith("config.json"))
        manifest = json.loads(members["manifest.json"])
        members[name], manifest["files"][name] = b"[]", {"bytes": 2, "sha256": hashlib.sha256(b"[]").hexdigest()}
        members["manifest.json"] = json.dumps(manifest).encode()

    return repacked(archive, to, change)


DAMAGES: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "cut": (cut, "cut short"),
    "flipped": (flipped, "SHA-256"),
    "a file is missing": (lambda a, to: repacked(a, to, lambda m: m.popitem() and None), "1 files are missing"),
    "one that it does not name": (lambda a, to: repacked(a, to, lambda m: m.update(x=b"")), "not in its manifest"),
    "outside": (outside, "../evil: allowed: files of runs"),
    "another key": (another_key, "is the config of"),
    "no config": (no_config, "config.json: is no run's config"),
    "links": (lambda a, to: repacked(a, to, lambda m: None, tarfile.SYMTYPE), "allowed: archives of"),
    "no manifest": (lambda a, to: repacked(a, to, lambda m: m.pop("manifest.json") and None), "has no manifest.json"),
    "not there": (lambda a, to: to, "damaged.tar: is not there, allowed: a file that `study archive` wrote"),
    "a folder": (lambda a, to: (to.mkdir(), to)[1], "damaged.tar: is a folder, allowed: a file that `study archive`"),
    "no tar": (lambda a, to: (to.write_text("hello" * 999), to)[1], "no archive"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_damaged_is_one_line_and_writes_nothing(
    name: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, words = DAMAGES[name]
    assert restore(damage(made / "s.tar", tmp_path / "damaged.tar"), tmp_path / "runs") == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists() and not (tmp_path / "evil").exists()


def test_what_is_not_trained_is_counted(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.yaml").write_text(STUDY + "seeds: 2\n")
    command = ["archive", str(tmp_path / "s.yaml"), str(tmp_path / "s.tar"), "--runs"]
    assert main([*command, str(made / "runs")]) == 1
    assert "2 of 4 runs are not trained" in capsys.readouterr().out
    assert main([*command[:2], str(tmp_path / "t.tar"), "--runs", str(tmp_path / "none")]) == 2
    assert "holds no trained run of s" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(
    made: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.storage.archive.sha256", lambda path: pytest.fail("has begun to read"))
    runs = ["--runs", str(made / "runs")]
    assert main(["archive", str(made / "s.yaml"), str(made / "s.yaml/x.tar"), *runs]) == 2
    assert f"error: target: {made}/s.yaml: " in capsys.readouterr().err
