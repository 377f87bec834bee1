"""A requeue ends the job's own `scontrol requeue`, too: that is no failure of it."""

import signal
import subprocess

import pytest

from slurm.job.work import is_served


@pytest.mark.parametrize(("command", "served"), [(f"kill -{signal.SIGTERM:d} $$", True), ("exit 1", False)])
def test_only_a_requeue_that_was_ended_with_the_job_is_served(command: str, served: bool) -> None:
    with pytest.raises(subprocess.CalledProcessError) as raised:
        subprocess.check_call(["sh", "-c", command])
    assert is_served(raised.value) is served
    assert not is_served(RuntimeError("scontrol: not found"))
