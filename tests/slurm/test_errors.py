"""The worst configs and cluster files: each ends with one line and status 2, before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurm.__main__ import main

HEAD = "fixed: {dataset: digits, momentum: 0.9}\ngrid: {lr: [0.1]}\nmeasures: [train_loss]\n"

# A study's text -> words of its line: the field, the value, what is allowed.
STUDIES = {
    "empty": ("", ["yaml", "allowed"]),
    "a list": ("- 1\n- 2\n", ["yaml", "list"]),
    "a word": ("hello", ["yaml", "str"]),
    "broken yaml": ("fixed: {lr: [0.1\n", ["broken YAML", "line"]),
    "a tab": ("fixed:\n\tlr: 0.1\n", ["broken YAML", "line 2"]),
    "a python object": ("fixed: !!python/object:os.system {}\n", ["broken YAML"]),
    "key twice": (HEAD + "measures: [train_loss]\n", ["measures", "twice"]),
    "unknown section": (HEAD + "sweep: {}\n", ["sweep", "allowed: name"]),
    "unknown field": (HEAD.replace("momentum", "momentun"), ["momentun", "unknown field"]),
    "field twice": (HEAD.replace("lr: [0.1]", "lr: [0.1], momentum: [0.1]"), ["momentum", "two of them"]),
    "value for list": (HEAD.replace("[0.1]", "0.1"), ["grid.lr", "list"]),
    "empty axis": (HEAD.replace("[0.1]", "[]"), ["grid.lr", "at least one"]),
    "text for number": (HEAD.replace("[0.1]", "[fast]"), ["lr", "'fast'", "number"]),
    "true for number": (HEAD.replace("[0.1]", "[true]"), ["lr", "True", "number"]),
    "nan": (HEAD.replace("[0.1]", "[.nan]"), ["lr", "nan"]),
    "infinity": (HEAD.replace("[0.1]", "[.inf]"), ["lr", "inf"]),
    "negative lr": (HEAD.replace("[0.1]", "[-1]"), ["lr", "-1", "> 0"]),
    "momentum 1": (HEAD.replace("0.9", "1"), ["momentum", "1", "< 1"]),
    "half a batch": (HEAD + "zip: {batch_size: [1.5]}\n", ["batch_size", "1.5", "integer"]),
    "batch too large": (HEAD + "zip: {batch_size: [301]}\n", ["batch_size", "301", "300"]),
    "n_train too large": (HEAD + "zip: {n_train: [301]}\n", ["n_train", "301", "300"]),
    "unknown dataset": (HEAD.replace("digits", "imagenet"), ["dataset", "imagenet", "mnist"]),
    "unknown model": (HEAD + "zip: {model: [gpt]}\n", ["model", "gpt", "mlp"]),
    "images it lacks": (HEAD + "zip: {model: [lenet5]}\n", ["model", "lenet5", "channels"]),
    "unknown measure": (HEAD.replace("train_loss", "sharpness"), ["measures", "sharpness", "allowed"]),
    "no measures": (HEAD.replace("[train_loss]", "[]"), ["measures", "at least one"]),
    "measure twice": (HEAD.replace("train_loss]", "train_loss, train_loss]"), ["measures", "once"]),
    "unknown stop": (HEAD + "zip: {stops: [[accuracy_1]]}\n", ["stops", "accuracy_1", "epoch_"]),
    "late stop": (HEAD + "zip: {stops: [[epoch_200]]}\n", ["stops", "epoch_200", "max_epochs"]),
    "zip of two lengths": (HEAD + "zip: {batch_size: [1, 2], weight_decay: [0]}\n", ["zip", "one length"]),
    "no seeds": (HEAD + "seeds: 0\n", ["seeds", "0", "how many, 1 to 1000000"]),
    "seed axis": (HEAD.replace("lr: [0.1]", "seed: [1]"), ["seed", "seeds"]),
    "run twice": (HEAD.replace("[0.1]", "[0.1, 1e-1]"), ["duplicate run"]),
    "all excluded": (HEAD + "exclude: [{lr: 0.1}]\n", ["empty grid"]),
    "excludes nothing": (HEAD + "exclude: [{lr: 0.2}]\n", ["exclude", "excludes no run"]),
    "shard of none": (HEAD + "shard_size: 0\n", ["shard_size", "0"]),
    "measures in a list": (HEAD.replace("train_loss", "[train_loss]"), ["measures", "allowed"]),
    "endless runs": (HEAD + "seconds_per_run: .inf\n", ["seconds_per_run", "inf"]),
    "another name": (HEAD + "name: other\n", ["name", "other"]),
    "no text": ("\x00\x01", ["yaml"]),
}  # fmt: skip

GOOD = "kind: slurm\npartition: main\nminutes: 10\n"

CLUSTERS = {
    "empty": ("", ["yaml", "allowed"]),
    "a list": ("- slurm\n", ["yaml", "list"]),
    "broken yaml": ("kind: [slurm\n", ["broken YAML", "line"]),
    "a tab": ("kind:\n\tslurm\n", ["broken YAML", "line 2"]),
    "a python object": ("kind: !!python/object:os.system {}\n", ["broken YAML"]),
    "field twice": (GOOD + "kind: slurm\n", ["kind", "twice"]),
    "no kind": ("partition: main\n", ["kind", "None", "local, slurm"]),
    "unknown kind": ("kind: kubernetes\n", ["kind", "kubernetes", "local, slurm"]),
    "unknown field": (GOOD + "partitions: x\n", ["partitions", "unknown field", "partition"]),
    "a number as name": (GOOD + "7: 8\n", ["7", "unknown field"]),
    "slurm field for local": ("kind: local\npartition: main\n", ["partition", "kind local", "processes"]),
    "local field for slurm": (GOOD + "processes: 2\n", ["processes", "kind slurm"]),
    "text minutes": (GOOD.replace("10", "2h"), ["minutes", "'2h'", "integer"]),
    "clock minutes": (GOOD.replace("10", "'2:00:00'"), ["minutes", "2:00:00", "integer"]),
    "half a minute": (GOOD.replace("10", "0.5"), ["minutes", "0.5", "integer"]),
    "no minutes": (GOOD.replace("10", "0"), ["minutes", "0", "more than"]),
    "negative minutes": (GOOD.replace("10", "-5"), ["minutes", "-5"]),
    "yes minutes": (GOOD.replace("10", "yes"), ["minutes", "True", "integer"]),
    "endless minutes": (GOOD.replace("10", "100000000"), ["minutes", "less than"]),
    "no memory": (GOOD + "memory_gb: 0\n", ["memory_gb", "more than 0"]),
    "memory with unit": (GOOD + "memory_gb: 16G\n", ["memory_gb", "16G", "number"]),
    "nan memory": (GOOD + "memory_gb: .nan\n", ["memory_gb", "nan"]),
    "no cpus": (GOOD + "cpus: 0\n", ["cpus", "0"]),
    "many gpus": (GOOD + "gpus: 8\n", ["gpus", "8", "0 or 1"]),
    "negative gpus": (GOOD + "gpus: -1\n", ["gpus", "-1"]),
    "gpus that are not one a shard": (GOOD + "gpus: 2\nshards_per_job: 4\n", ["gpus", "2", "0 or 4, one a shard"]),
    "few cpus for many shards": (GOOD + "cpus: 2\nshards_per_job: 4\n", ["cpus", "2", "at least 4"]),
    "gpu type without gpu": (GOOD + "gpu_type: a100\n", ["gpu_type", "gpus > 0"]),
    "cuda without gpu": (GOOD + "device: cuda\n", ["device", "gpus > 0"]),
    "unknown device": (GOOD + "device: tpu\n", ["device", "tpu", "cpu, cuda"]),
    "two partitions": (GOOD.replace("main", "[a, b]"), ["partition", "one line of text"]),
    "an option smuggled in": (GOOD.replace("main", "'main --nodes=100'"), ["partition", "characters"]),
    "a command smuggled in": (GOOD.replace("main", "'$(reboot)'"), ["partition", "characters"]),
    "null account": (GOOD + "account:\n", ["account", "None", "leave the field out"]),
    "empty account": (GOOD + "account: ''\n", ["account", "leave the field out"]),
    "no array": (GOOD + "array_parallelism: 0\n", ["array_parallelism", "0"]),
    "late signal": (GOOD + "signal_seconds: 600\n", ["signal_seconds", "600", "10 minutes"]),
    "no time before the signal": (
        GOOD.replace("10", "1") + "signal_seconds: 35\n", ["signal_seconds", "35", "60 s early", "more minutes"]
    ),
    "little time before the signal": (GOOD.replace("10", "2") + "signal_seconds: 31\n", ["31", "at most 30 of 2"]),
    "a python that is nowhere": (GOOD + "python: /no/python\n", ["python", "'/no/python'", "no such program"]),
    "a data folder that is nowhere": (GOOD + "data: /no/data\n", ["data", "'/no/data'", "no such folder"]),
    "a data folder that is nowhere on this machine": ("kind: local\ndata: /no/data\n", ["data", "no such folder"]),
    "runs that are nowhere": (GOOD + "runs: /no/disk/runs\n", ["runs", "/no/disk/runs", "/no does not exist"]),
    "results that are nowhere": (GOOD + "results: /no/disk\n", ["results", "/no/disk", "/no does not exist"]),
    "setup text": (GOOD + "setup: module load cuda\n", ["setup", "list"]),
    "setup with a new line": (GOOD + 'setup: ["a\\nb"]\n', ["setup", "list"]),
    "modules of numbers": (GOOD + "modules: [12.4]\n", ["modules", "list"]),
    "environment list": (GOOD + "environment: [A=1]\n", ["environment", "mapping"]),
    "environment name": (GOOD + "environment: {A-B: 1}\n", ["environment", "A-B"]),
    "environment yes": (GOOD + "environment: {A: yes}\n", ["environment.A", "quote"]),
    "flag of ours": (GOOD + "flags: {array: 0-9}\n", ["flags.array", "set by the launcher"]),
    "flag with dashes": (GOOD + "flags: {--mail-type: ALL}\n", ["flags", "--mail-type"]),
    "srun maybe": (GOOD + "srun: maybe\n", ["srun", "maybe", "true, false"]),
}  # fmt: skip


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    assert len(lines) == 1, shown.err
    assert lines[0].startswith("error: ") and "Traceback" not in shown.out + shown.err
    return lines[0]


def test_there_are_sixty() -> None:
    assert len(STUDIES) + len(CLUSTERS) >= 60


@pytest.mark.parametrize("name", STUDIES)
def test_study(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text, words = STUDIES[name]
    Path("s.yaml").write_text(text)
    assert main(["submit", "s.yaml", "--cluster", "inline"]) == 2
    line = only_line(capsys)
    assert line.startswith("error: s.yaml: ") and all(word in line for word in words), line
    assert [p.name for p in tmp_path.iterdir()] == ["s.yaml"]


@pytest.mark.parametrize("name", ["a,b", "a|b", "a b", "a%j", "-a", ".a"])
def test_a_name_that_the_scheduler_would_misread(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"{name}.yaml"
    path.write_text(HEAD)
    assert main(["submit", str(path), "--cluster", "inline"]) == 2
    assert f"name: {name!r}: allowed in a study's name" in only_line(capsys)


@pytest.mark.parametrize("name", CLUSTERS)
def test_cluster(name: str, tiny: Path, fake_slurm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, words = CLUSTERS[name]
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert main(["submit", str(tiny), "--cluster", str(path), "--allow-dirty"]) == 2
    line = only_line(capsys)
    assert line.startswith(f"error: {path}: ") and all(word in line for word in words), line
    assert not (tmp_path / "results").exists() and not (fake_slurm / "sbatch.calls").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["submit", "absent.yaml", "--cluster", "inline"], ["absent.yaml", "No such file"]),
        (["status", "absent.yaml"], ["absent.yaml", "No such file"]),
        (["submit", "{tiny}", "--cluster", "absent"], ["cluster", "'absent'", "inline", "local", "testbed"]),
        (
            ["submit", "{tiny}", "--cluster", "site", "--dry-run"],
            ["site.yaml", "python", "/shared/me"],
        ),
        (["submit", "{tiny}", "--cluster", "/absent.yaml"], ["/absent.yaml", "no such file"]),
        (["submit", "{tiny}", "--cluster", "testbed", "--allow-dirty"], ["sbatch", "no such command"]),
        (["submit", "{tiny}", "--cluster", "inline", "--results", "/proc/none"], ["/proc/none"]),
        (["submit", "{tiny}", "--cluster", "local", "--results", "/dev/null/x"], ["/dev/null"]),
        (["submit", "{folder}", "--cluster", "inline"], ["cannot be read"]),
        (["cancel", "{tiny}", "--where", "lr=0.1", "lr=0.03"], ["--where: 'lr=0.03': lr is given twice"]),
        (["cancel", "{tiny}", "--key", ""], ["--key: ''", "one digit at least"]),
        (["logs", "{tiny}", "--lines", "0"], ["--lines: 0: allowed: an integer > 0"]),
        (["watch", "{tiny}", "--every", "-1"], ["--every: -1.0: allowed: a number of seconds > 0"]),
        (["watch", "{tiny}", "--every", "nan"], ["--every: nan"]),
    ],
)
def test_arguments(
    arguments: list[str],
    words: list[str],
    tiny: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tiny.parent)
    monkeypatch.setenv("PATH", "/nowhere")
    assert main([a.format(tiny=tiny, folder=tiny.parent) for a in arguments]) == 2
    line = only_line(capsys)
    assert all(word in line for word in words), line
