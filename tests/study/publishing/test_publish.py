"""What is added to published rows: shifts, and measures, on as many images as those that are there."""

from pathlib import Path

import pytest

from study.grid import load_study
from study.publishing.publish import RecordsConflict, publish
from study.records import collect
from study.run import run_shard
from study.storage.paths import published_file, records_file
from study.storage.rows import Row, read_table, write_rows

TEXT = """
fixed: {dataset: digits_images, n_train: 60, hidden: [8], batch_size: 20, max_epochs: 1, stops: [epoch_1]}
grid: {lr: [0.03, 0.1]}
measures: [param_norm]
"""
MEANS = ("gap.shift.mean.loss", "gap.shift.mean.error")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_RECORDS", str(tmp_path / "analysis/records"))
    monkeypatch.setenv("STUDY_COMMIT", "0123456789ab")
    monkeypatch.chdir(tmp_path)


def recorded(more: str, text: str = TEXT) -> list[Row]:
    Path("small.yaml").write_text(text + more)
    study = load_study("small.yaml")
    run_shard(study.runs, study.measures, runs_root="runs")
    return read_table(collect(study, "runs", "results")[0])


def published(more: str, text: str = TEXT) -> list[Row]:
    recorded(more, text)
    return read_table(publish(load_study("small.yaml"), "results")[0])


def test_a_shift_that_is_added_moves_the_mean_over_shifts() -> None:
    """To that of a study which had both from the start; one that is not in the yaml any more stays in it."""
    published("shifts: [blur]\n")
    both = published("shifts: [blur, contrast]\n")
    assert both == recorded("shifts: [blur, contrast]\n")
    for listed in ("blur", "contrast", "contrast, blur"):
        assert published(f"shifts: [{listed}]\n") == both
    three = published("shifts: [rotation]\n")
    fresh = recorded("shifts: [rotation, contrast, blur]\n")
    assert [[row[mean] for mean in MEANS] for row in three] == [[row[mean] for mean in MEANS] for row in fresh]
    assert publish(load_study("small.yaml"), "results")[1] == 0


@pytest.mark.parametrize("mean", MEANS)
def test_a_mean_over_the_same_shifts_that_differs_is_refused(mean: str) -> None:
    rows = published("shifts: [blur, contrast]\n")
    write_rows(records_file("small", "results"), [{**row, mean: "0.5"} for row in rows])
    with pytest.raises(RecordsConflict, match=rf"{mean}: published \S+, now 0.5; allowed: the published value"):
        publish(load_study("small.yaml"), "results")


def test_an_added_shift_whose_gaps_differ_is_refused() -> None:
    published("shifts: [blur]\n")
    rows = recorded("shifts: [blur, contrast]\n")
    write_rows(records_file("small", "results"), [{**row, "gap.shift.blur_2.loss": "0.5"} for row in rows])
    with pytest.raises(RecordsConflict, match=r"gap\.shift\.blur_2\.loss: published \S+, now 0.5"):
        publish(load_study("small.yaml"), "results")


def test_a_publication_that_fails_between_two_files_leaves_both_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records and seconds would say of two networks what they have of one."""
    published("", TEXT.replace("[0.03, 0.1]", "[0.03]"))
    files = [published_file("small"), published_file("small", "timings")]
    before = [path.read_bytes() for path in files]
    recorded("")
    replace, n_renamed = Path.replace, 0

    def fails_second(part: Path, path: Path) -> Path:
        nonlocal n_renamed
        n_renamed += path in files
        if n_renamed == 2:
            raise OSError("no space left")
        return replace(part, path)

    with monkeypatch.context() as full:
        full.setattr(Path, "replace", fails_second)
        with pytest.raises(OSError, match="no space left"):
            publish(load_study("small.yaml"), "results")
    assert [path.read_bytes() for path in files] == before
    assert publish(load_study("small.yaml"), "results")[1] == 1
    assert {row["key"] for row in read_table(files[0])} == {row["key"] for row in read_table(files[1])}


@pytest.mark.parametrize(
    ("before", "more", "said"),
    [("", "measured_images: 20\n", "published all, now 20"), ("measured_images: 20\n", "", "published 20, now all")],
)
def test_measures_of_other_images_do_not_join_a_row(before: str, more: str, said: str) -> None:
    """`n.measured` is one cell: of another measure, so that no value of the row is in the way."""
    rows = published(before)
    recorded(more, TEXT.replace("param_norm", "train_loss"))
    with pytest.raises(RecordsConflict, match=rf"epoch_1: n\.measured: {said}; allowed: the published value, or the"):
        publish(load_study("small.yaml"), "results")
    assert read_table(published_file("small")) == rows
    published(before, TEXT.replace("param_norm", "train_loss"))
