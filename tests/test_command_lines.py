"""What command lines share: `| head` ends them quietly, any encoding and any folder will do, or one line says why not.

Commands are run in this process, which is faster; one of them in processes of its own as well.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from analysis.__main__ import main as analyse
from analysis.wandb_report import main as report
from analysis.wandb_upload import main as upload
from slurm.__main__ import main as launch
from study.__main__ import main as study
from study.display import to_the_end
from study.storage.sent import Sent, remember

ROOT = Path(__file__).parents[1]
TITLE = "τ_b − Größe × ☃"
TINY = f"""
title: {TITLE}
fixed: {{hidden: [2], n_train: 50, batch_size: 50, max_epochs: 1, stops: [epoch_1]}}
grid: {{lr: [0.03, 0.1]}}
measures: [weight_norm_squared, train_loss]
"""
MODELS = """
build: networks.py:build
data: digits
networks: [{checkpoint: a.pt, lr: 0.1}]
measures: [param_norm]
"""
MAINS = {"study": study, "slurm": launch, "analysis": analyse, "wandb_report": report, "wandb_upload": upload}
# About a study that is done, collected, and was sent to far/. CONFIG: its yaml; LEDGER: a ledger; PIECE: a new folder;
# MODELS: the yaml of a network that was trained elsewhere.
COMMANDS = {
    "study plan CONFIG": 0, "study run CONFIG --wandb off": 0, "study records CONFIG": 0, "study slice CONFIG": 0,
    "study publish CONFIG --dry-run": 2, "study keys CONFIG": 0, "study fetch CONFIG": 0,
    "study searches CONFIG": 2,
    "study repeats CONFIG": 0,
    "study archive CONFIG PIECE.tar": 0, "study ledger MODELS": 0, "study ledger MODELS --dry-run": 0,
    "slurm submit CONFIG --cluster inline --runs far/runs --results far/results --wandb off": 0,
    "slurm submit CONFIG --cluster inline --runs far/runs --results far/results --dry-run": 0,
    "slurm status CONFIG": 0, "slurm status CONFIG --json": 0, "slurm watch CONFIG": 0, "slurm logs CONFIG": 1,
    "slurm retry CONFIG --wandb off": 0, "slurm cancel CONFIG": 0, "slurm collect CONFIG": 0,
    "analysis items": 0, "analysis figure LEDGER loss_curves": 2, "analysis table tiny exclusions": 0,
    "analysis table tiny headline --out PIECE/headline.md": 0, "analysis table LEDGER exclusions": 0,
    "analysis figure LEDGER scatter": 0, "wandb_upload tiny --dry-run": 0,
}  # fmt: skip
# Refused as quickly as the others, but otherwise long, or hanging on the state of the checkout; tests of their own.
LONG = [
    "study publish CONFIG", "study restore LEDGER", "study audit CONFIG",
    "analysis report tiny", "analysis ledger LEDGER", "analysis make tiny", "wandb_report tiny",
]  # fmt: skip
# Of the checkout or of its published numbers alone: no study of one's own.
WRITERS = {"study reference", "analysis reference", "analysis prose", "analysis paper", "analysis verify"}
WITHOUT = {
    "analysis items",
    "study keys CONFIG",
    "study fetch CONFIG",
    "analysis table LEDGER exclusions",
}  # neither read nor write results


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that is done, in `far/`, where it was sent, and a ledger."""
    folder = tmp_path_factory.mktemp("lines")
    (folder / "tiny.yaml").write_text(TINY, encoding="utf-8")
    (folder / "mine.csv").write_text("hp.lr,gen.gap,complexity.m\n0.1,0.5,1\n0.2,0.6,2\n0.3,0.8,4\n0.4,0.7,3\n")
    (folder / "models.yaml").write_text(MODELS, encoding="utf-8")
    (folder / "networks.py").write_text("import torch\ndef build(hp):\n    return torch.nn.Linear(64, 10)\n")
    torch.save(torch.nn.Linear(64, 10).state_dict(), folder / "a.pt")
    far = folder / "far"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_RESULTS", str(folder / "near"))
        where = ["--runs", str(far / "runs"), "--results", str(far / "results"), "--wandb", "off"]
        assert study(["run", str(folder / "tiny.yaml"), *where]) == 0
        remember("tiny", Sent("inline", str(far / "runs"), str(far / "results")))
    return folder


@pytest.fixture
def words(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Sequence[str]]:
    """The words of a command, about that study."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("STUDY_RESULTS", str(place / "near"))
    monkeypatch.setenv("STUDY_RUNS", str(place / "near/runs"))
    monkeypatch.setenv("STUDY_RECORDS", str(place / "published"))
    names = {"CONFIG": str(place / "tiny.yaml"), "LEDGER": str(place / "mine.csv"), "PIECE": str(tmp_path / "piece"),
             "MODELS": str(place / "models.yaml")}  # fmt: skip

    def of(command: str) -> list[str]:
        for name, path in names.items():
            command = command.replace(name, path)
        return command.split()

    return of


def end(words: Sequence[str]) -> int:
    """The exit status of a command that is run to its end as `python -m` runs it."""
    return to_the_end(lambda: MAINS[words[0]](list(words[1:])))


@pytest.mark.parametrize("name", ["study", "slurm", "analysis"])
def test_every_command_is_tried(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        MAINS[name](["--help"])
    found = re.findall(r"^    ([a-z]+)  ", capsys.readouterr().out.partition("examples:")[0], re.MULTILINE)
    tried = {" ".join(command.split()[:2]) for command in [*COMMANDS, *LONG]}
    assert len(found) > 5 and {f"{name} {command}" for command in found} <= tried | WRITERS


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_has_left_ends_a_command_quietly(
    command: str, words: Callable[[str], Sequence[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out, (tmp_path / "stderr").open("w") as error:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", error)
        assert end(words(command)) == (COMMANDS[command] or 141)
    said = (tmp_path / "stderr").read_text()
    assert "roken pipe" not in said and "Traceback" not in said


@pytest.mark.parametrize("pipe", ["", "2>&1 "])
def test_a_process_of_its_own_ends_as_quietly(pipe: str, place: Path) -> None:
    command = f"{sys.executable} -m study keys {place}/tiny.yaml {pipe}| true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout in ("141\n", "0\n") and done.stderr == ""


@pytest.mark.parametrize(("redirection", "status"), [(">/dev/full", 2), (">&-", 0)])
def test_an_output_that_takes_nothing_is_one_line(redirection: str, status: int, place: Path) -> None:
    command = f"{sys.executable} -m study keys {place}/tiny.yaml {redirection}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == status
    said = done.stderr.splitlines()
    assert len(said) == bool(status) and all(line.endswith("No space left on device") for line in said), said


@pytest.mark.parametrize(("command", "encoding"), [*((c, "ascii") for c in COMMANDS), ("study plan CONFIG", "latin-1")])
def test_any_encoding_will_do(
    command: str, encoding: str, words: Callable[[str], Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, error = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", error)
    assert end(words(command)) == COMMANDS[command]
    text = out.buffer.getvalue().decode(encoding)
    if "plan" in command:
        assert ("tau_b - Gr??e x ?" if encoding == "ascii" else "tau_b - Größe × ?") in text


@pytest.mark.parametrize("command", [*(c for c in COMMANDS if c not in WITHOUT), *LONG])
def test_a_folder_that_is_none_is_one_line_before_anything_is_done(
    command: str, words: Callable[[str], Sequence[str]], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(place.rglob("*"))
    option = "--runs" if "restore" in command else "--results"
    asked = words(command.replace("PIECE", "LEDGER") if "--out" in command else f"{command} {option} LEDGER/folder")
    assert end(asked) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("error: ") and str(place / "mine.csv") in said[0], said
    assert "allowed is a folder" in said[0]
    assert sorted(place.rglob("*")) == files


@pytest.mark.parametrize(
    "command",
    ["slurm submit CONFIG --cluster local --no-w", "slurm status CONFIG --js", "slurm --hel status CONFIG",
     "study run CONFIG --dev cpu", "study restore LEDGER --ru PIECE", "study ledger MODELS --dry",
     "study reference --hel", "study --hel keys CONFIG", "analysis report tiny --commit", "analysis --hel items",
     "wandb_upload tiny --dry", "wandb_report tiny --commit"],
)  # fmt: skip
def test_half_an_option_is_refused_before_anything_is_done(
    command: str, words: Callable[[str], Sequence[str]], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The launcher in the background repeats its own command without `--no-wait`, which it must know by that name."""
    files = sorted(place.rglob("*"))
    with pytest.raises(SystemExit, match="2"):
        end(words(command))
    half = next(word for word in command.split() if word.startswith("--") and word != "--cluster")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith(f"error: unrecognized arguments: {half}"), said
    assert sorted(place.rglob("*")) == files


@pytest.mark.parametrize(
    ("command", "said"),
    [("study run CONFIG --minutes soon", "argument --minutes: invalid float value: 'soon'"),
     ("study run CONFIG --wandb yes", "argument --wandb: invalid choice: 'yes'"), ("study walk CONFIG", "'walk'"),
     ("slurm submit CONFIG", "the following arguments are required: --cluster"), ("slurm", "required: command"),
     ("analysis table tiny headline --format xlsx", "argument --format: invalid choice: 'xlsx'"),
     ("analysis figure tiny", "the following arguments are required: name"),
     ("wandb_upload tiny --rate fast", "argument --rate: invalid float value: 'fast'"),
     ("wandb_report", "the following arguments are required: study")],
)  # fmt: skip
def test_an_argument_that_cannot_be_is_one_line(
    command: str, said: str, words: Callable[[str], Sequence[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        end(words(command))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and said in lines[0], lines
    assert "--help says what is allowed)" in lines[0]


@pytest.mark.parametrize("command", ["run", "records", "slice"])
@pytest.mark.parametrize("option", ["--runs", "--results"])
def test_a_folder_that_cannot_be_written_is_one_line_before_anything_is_done(
    command: str,
    option: str,
    words: Callable[[str], Sequence[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path)  # root may write everywhere
    assert end([*words(f"study {command} CONFIG"), option, str(tmp_path / "new")]) == 2
    shown = capsys.readouterr()
    assert not shown.out and shown.err.startswith(f"error: {option}: {tmp_path / 'new'}: {tmp_path} cannot be written")


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if not (COMMANDS[c] or c in WITHOUT or "LEDGER" in c or "MODELS" in c)]
)
def test_a_command_reads_where_the_study_was_sent_and_says_so(
    command: str, words: Callable[[str], Sequence[str]], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end(words(command)) == 0
    shown = capsys.readouterr()
    assert str(place / "far") in shown.out + shown.err and not (place / "near/runs").exists()
    assert str(place / "near") not in shown.out + shown.err


def test_a_folder_that_is_named_is_read_wherever_the_study_was_sent(
    words: Callable[[str], Sequence[str]], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end([*words("study plan CONFIG"), "--runs", "here", "--results", "there"]) == 0
    shown = capsys.readouterr().out
    assert "  done      0\n" in shown and "  folders   results there/tiny, runs here\n" in shown


def test_the_launcher_works_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "slurm.py").write_text("raise SystemExit('the current folder was imported')\n")
    (tmp_path / "sweep").symlink_to(ROOT / "slurm/sweep")
    line = [str(tmp_path / "sweep"), "status", "configs/digits_mlp.yaml", "--cluster", "local"]
    environment = {**os.environ, "STUDY_RESULTS": str(tmp_path), "STUDY_RUNS": "runs"}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "digits_mlp: 0 of 108 runs trained" in done.stdout, done.stderr
    assert f"results {tmp_path}/digits_mlp, runs {tmp_path}/runs" in done.stdout


def test_a_command_that_is_interrupted_ends_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert to_the_end(interrupted) == 130 and capsys.readouterr().err == ""
