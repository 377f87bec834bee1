"""A published study made anew takes the place of the old one as a whole, or the old one stays to the last byte."""

from collections.abc import Callable
from pathlib import Path

import pytest

from study.__main__ import main
from study.config import run_key
from study.grid import load_study
from study.publishing.comparison import compare, text
from study.publishing.publish import publish
from study.publishing.replace import _check_whole
from study.records import collect
from study.run import run_shard
from study.storage.atomic import write_together
from study.storage.rows import Row, read_table, write_rows

TINY = """
fixed: {hidden: [8], batch_size: 50, max_epochs: 2, stops: [epoch_1, epoch_2]}
grid: {lr: [0.03, 0.1]}
measures: [relative_flatness, weight_norm_squared]
"""
FILES = ("tiny.csv", "tiny.slices.csv", "tiny.timings.csv")
RECORDS, SLICES, TIMINGS = (Path("results/tiny") / f"{name}.csv" for name in ("records", "slices", "timings"))


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study, published with its slices by one commit, and made anew by another: half a percent more flatness."""
    monkeypatch.setenv("STUDY_RECORDS", str(tmp_path / "published"))
    monkeypatch.setenv("STUDY_COMMIT", "aaaaaaaaaaaa")
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY)
    study = load_study("tiny.yaml")
    run_shard(study.runs, study.measures, runs_root="runs")
    collect(study, "runs")
    assert main(["slice", "tiny.yaml"]) == 0
    publish(study)
    rows = read_table(RECORDS)
    for row in rows:
        row["prov.commit"] = row["prov.measured"] = "bbbbbbbbbbbb"
        row["measure.relative_flatness"] = repr(1.005 * float(row["measure.relative_flatness"]))
    rows[1]["gap.loss"] = ""
    write_rows(RECORDS, rows)
    rewrite(TIMINGS, lambda row: row | {"seconds": "9.0"})
    rewrite(SLICES, lambda row: row | {"loss": row["loss"] + "1"})
    return tmp_path / "published"


def rewrite(path: Path, change: Callable[[Row], Row]) -> None:
    write_rows(path, [change(row) for row in read_table(path)])


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_conflict_names_replace(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(published)
    assert main(["publish", "tiny.yaml"]) == 2
    said = capsys.readouterr().err
    assert "measure.relative_flatness: published" in said
    assert "the whole study made anew (--replace; --dry-run shows what changes)" in said
    assert main(["publish", "tiny.yaml", "--dry-run"]) == 2
    assert "--dry-run: allowed with --replace" in capsys.readouterr().err
    assert content(published) == before


def test_replaced_as_a_whole_after_the_same_words_as_a_dry_run(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(published)
    assert main(["publish", "tiny.yaml", "--replace", "--dry-run"]) == 0
    tried = capsys.readouterr().out
    assert content(published) == before
    assert main(["publish", "tiny.yaml", "--replace"]) == 0
    done = capsys.readouterr().out
    shown, _, end = tried.rpartition("\n\n")
    assert end == "nothing is written (--dry-run)\n"
    assert done.startswith(shown) and done.endswith("review and commit them together\n")
    fresh = [path.read_bytes() for path in (RECORDS, SLICES, TIMINGS)]
    assert content(published) == dict(zip(FILES, fresh, strict=True)) != before

    lines = [line.split() for line in shown.splitlines()]
    assert ["same", "in", "every", "number", "0"] in lines
    assert ["training's", "commit,", "before", "aaaaaaaaaaaa", "(4", "rows)"] in lines
    assert ["measures'", "commit,", "now", "bbbbbbbbbbbb", "(4", "rows)"] in lines
    (moved,) = (line for line in lines if line[:1] == ["measure.relative_flatness"])
    assert moved[1:4] == ["4", "0", "0.005"]
    (emptied,) = (line for line in lines if line[:1] == ["gap.loss"])
    row = read_table(RECORDS)[1]
    assert emptied[1:7] == ["1", "1", "no", "two", "numbers", row["key"]] and emptied[-2:] == ["->", "none"]

    assert main(["publish", "tiny.yaml", "--replace"]) == 0
    assert ["same", "in", "every", "number", "4"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    assert content(published) == dict(zip(FILES, fresh, strict=True))


def drop_rows(rows: list[Row]) -> list[Row]:
    return rows[1:]


def drop_a_measure(rows: list[Row]) -> list[Row]:
    return [{k: v for k, v in row.items() if k != "measure.weight_norm_squared"} for row in rows]


def add_a_run(rows: list[Row]) -> list[Row]:
    return [*rows, rows[0] | {"key": "0123456789ab"}]


def of_edited_code(rows: list[Row]) -> list[Row]:
    return [*rows[1:], rows[0] | {"prov.commit": "bbbbbbbbbbbb-dirty"}]


def of_one_run(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["key"] == rows[0]["key"]]


def of_other_weights(rows: list[Row]) -> list[Row]:
    return [row | {"loss": repr(1.001 * float(row["loss"]))} for row in rows]


@pytest.mark.parametrize(
    ("path", "change", "said"),
    [
        (RECORDS, drop_rows, r"records.csv: 1 of 4 rows are missing: \w{12} epoch_\d; allowed with --replace: every"),
        (RECORDS, of_one_run, r"2 of 4 rows are missing: (\w{12}) epoch_1, \1 epoch_2; allowed"),
        (RECORDS, drop_a_measure, r"measures are missing: weight_norm_squared; allowed"),
        (RECORDS, add_a_run, r"1 rows are of no run of tiny.yaml: 0123456789ab epoch_1; allowed"),
        (RECORDS, of_edited_code, r"prov.commit: 'bbbbbbbbbbbb-dirty': allowed: records of committed code"),
        (TIMINGS, of_one_run, r"timings.csv: its runs are not those of the records: 1 runs are in one of the two"),
        (SLICES, lambda rows: [], r"slices.csv: holds no slice, and those published are of the old networks; allowed"),
        (SLICES, of_other_weights, r"slices.csv: \w{12}: is of other weights: its training loss is .*\(study slice\)"),
    ],
)  # fmt: skip
def test_what_is_not_whole_is_refused_and_named(
    path: Path, change: Callable[[list[Row]], list[Row]], said: str, published: Path
) -> None:
    before = content(published)
    write_rows(path, change(read_table(path)))
    with pytest.raises(ValueError, match=said):
        replace()
    assert content(published) == before


def replace() -> None:
    from study.publishing.replace import replacement

    replacement(load_study("tiny.yaml")).write()


@pytest.mark.parametrize("path", [TIMINGS, SLICES])
def test_a_file_that_is_not_there_is_refused(path: Path, published: Path) -> None:
    path.unlink()
    with pytest.raises(ValueError, match=str(path)):
        replace()


def test_a_published_stop_does_not_vanish(published: Path) -> None:
    """Fewer stops are other keys: every published row would go, and a stop with them."""
    Path("tiny.yaml").write_text(TINY.replace("epoch_1, ", ""))
    study = load_study("tiny.yaml")
    keys = iter(run_key(config) for config in study.runs)
    rows = [row | {"key": next(keys)} for row in read_table(RECORDS) if row["stop"] == "epoch_2"]
    write_rows(RECORDS, rows)
    with pytest.raises(ValueError, match="published stops are missing: epoch_1; allowed"):
        replace()


def test_a_shifted_test_set_is_looked_for_in_its_gaps(tmp_path: Path) -> None:
    (tmp_path / "of_images.yaml").write_text(
        "fixed: {dataset: mnist, stops: [epoch_1]}\nmeasures: [train_loss]\nshifts: [blur, contrast]\n"
    )
    study = load_study(tmp_path / "of_images.yaml")
    row = {"key": run_key(study.runs[0]), "stop": "epoch_1", "measure.train_loss": "1", "gap.shift.blur_1.loss": "1"}
    with pytest.raises(ValueError, match=r"measures are missing: shift\(of=contrast\); allowed"):
        _check_whole(study, [row], [], RECORDS)
    _check_whole(study, [row | {"gap.shift.contrast_1.loss": "1"}], [], RECORDS)


def test_without_slices_none_are_demanded(published: Path) -> None:
    (published / "tiny.slices.csv").unlink()
    SLICES.unlink()
    replace()
    assert list(content(published)) == ["tiny.csv", "tiny.timings.csv"]
    assert (published / "tiny.csv").read_bytes() == RECORDS.read_bytes()


def rows_of(losses: dict[str, str], measure: str) -> list[Row]:
    shared = {"stop": "s", f"measure.{measure}": "1", "prov.commit": "a"}
    return [{"key": key, "train.loss": loss, **shared} for key, loss in losses.items()]


def test_rows_and_columns_that_come_and_go_are_counted() -> None:
    before = rows_of({"p": "1", "q": "2", "r": "0"}, "old")
    now = rows_of({"q": "2", "r": "0", "s": "3", "t": "0"}, "new")
    found = compare(before, now)
    assert (found.n_before, found.n_now, found.n_added, found.n_dropped, found.n_same) == (3, 4, 2, 1, 2)
    assert (found.columns_added, found.columns_dropped) == (("measure.new",), ("measure.old",))
    assert found.changes == () and "columns dropped" in text(found)
    now[0]["train.loss"], now[1]["train.loss"] = "4", "-1"
    (change,) = compare(before, now).changes
    assert (change.n_rows, change.n_one_side, change.largest, change.where) == (2, 0, 1.0, "r s: 0 -> -1")


@pytest.mark.parametrize("failing", [1, 2])
def test_files_are_written_together_or_not_at_all(
    failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails at the first or second rename; a third file had not been there before."""
    paths = [tmp_path / name for name in ("a", "b", "new/c")]
    for path in paths[:2]:
        path.write_bytes(b"old")
    calls: list[Path] = []
    rename = Path.replace

    def fail(source: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == failing + 1:
            raise OSError("no space left")
        return rename(source, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        write_together(dict.fromkeys(paths, b"new"))
    assert [path.read_bytes() for path in paths[:2]] == [b"old", b"old"]
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(paths[:2])
    write_together(dict.fromkeys(paths, b"new"))
    assert [path.read_bytes() for path in paths] == [b"new"] * 3
