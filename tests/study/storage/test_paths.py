"""Folders' roots: by a variable that says something, else their defaults."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from study.storage.paths import CHECKOUT, data_folder, published_folder, results_root, runs_folder


@pytest.mark.parametrize("given", [None, ""])
def test_a_variable_that_says_nothing_leaves_the_default(given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STUDY_RUNS", "STUDY_RESULTS", "STUDY_DATA", "STUDY_RECORDS"):
        monkeypatch.delenv(name, raising=False) if given is None else monkeypatch.setenv(name, given)
    assert (runs_folder(), results_root(), data_folder()) == (Path("runs"), Path("results"), Path(".data"))
    assert published_folder() == CHECKOUT / "analysis/records"


def test_what_make_exports_is_where_images_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no archives are at hand, make's own default is an empty variable."""
    more = tmp_path / "more.mk"
    more.write_text('show:\n\t@printf "%s" "$$STUDY_DATA"\n')
    environment = {name: text for name, text in os.environ.items() if name != "STUDY_DATA"}
    command = ["make", "-s", "-f", str(CHECKOUT / "Makefile"), "-f", str(more), "show"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    monkeypatch.setenv("STUDY_DATA", done.stdout)
    assert data_folder() == Path(".data")
