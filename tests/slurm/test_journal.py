"""What was submitted, in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from slurm import here
from slurm.__main__ import main
from slurm.journal import Journal, Submission
from study.storage import lease


def test_the_last_submission_is_that_of_the_largest_number(tmp_path: Path) -> None:
    journal = Journal("tiny", tmp_path)
    for id in ("10000-aaaaaa", "0002-ffffff", "9999-bbbbbb", "10001-000000"):
        journal.write(Submission(id, "local", "local", "0123456789ab", (f"of {id}", "every")))
    assert [s.id for s in journal.submissions()] == ["0002-ffffff", "9999-bbbbbb", "10000-aaaaaa", "10001-000000"]
    assert journal.latest()["every"].id == "10001-000000"


def test_a_local_submission_is_numbered_by_one_at_a_time(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes a number holds the jobs folder until the submission with it is there."""
    seen = []

    def alone_now(journal: Journal) -> bool:
        claims = sorted((journal.folder / ".leases/claims/su/submit").iterdir(), key=lambda claim: int(claim.name))
        return lease.alive(journal.folder, claims[-1].readlink().name)

    for method in ("new_id", "write"):
        inner = getattr(Journal, method)

        def watched(self: Journal, *given: object, inner: object = inner) -> object:
            seen.append(alone_now(self))
            return inner(self, *given)  # type: ignore[operator]

        monkeypatch.setattr(Journal, method, watched)
    monkeypatch.setattr(here, "_inline", lambda jobs: seen.append(alone_now(Journal("tiny"))) or {})
    assert main(["submit", str(tiny), "--cluster", "inline", "--wandb", "off"]) == 0
    assert seen == [True, True, False], "not while it computes"
    assert [s.id[:5] for s in Journal("tiny").submissions()] == ["0001-"]
