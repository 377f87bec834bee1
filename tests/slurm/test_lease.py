"""Two processes never write one run at a time: tokens, takeover, fencing, without comparing any two clocks."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from study.storage import lease
from study.storage.lease import Lease, LeaseLost, acquire

KEYS = ["aa01", "aa02", "bb03"]
HOLD = "import sys, time; from study.storage.lease import acquire; acquire(sys.argv[1], sys.argv[2:], 'other:0'); print('held', flush=True); time.sleep(600)"  # noqa: E501


class Impatient(Exception):
    """Raised by a test's on_wait."""


def impatient(owner: str) -> None:
    raise Impatient(owner)


class Clock:
    """Stands in for the module `time` in study.storage.lease: only sleeping and `pass_by` take time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds

    sleep = pass_by


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(lease, "time", made)
    return made


@pytest.fixture(autouse=True)
def _disk_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy disk takes seconds for an fsync, which would count as silence here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds KEYS."""
    command = [sys.executable, "-c", HOLD, str(tmp_path), *KEYS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_live_holder_is_waited_for(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    with pytest.raises(Impatient, match="other:0"):
        acquire(tmp_path, ["bb03"], "me:0", on_wait=impatient)
    acquire(tmp_path, ["cc04"], "me:0").release()  # what it does not hold is free


def test_a_killed_holder_on_this_machine_is_replaced_at_once_with_the_next_token(
    tmp_path: Path, other: subprocess.Popen[str], clock: Clock
) -> None:
    other.kill()
    other.wait()
    begin = clock.now
    held = acquire(tmp_path, KEYS, "me:0", on_wait=impatient)
    assert held.tokens == dict.fromkeys(KEYS, 2) and clock.now == begin
    held.release()
    assert acquire(tmp_path, KEYS[:1], "me:1", on_wait=impatient).tokens == {"aa01": 3}


def test_a_holder_elsewhere_is_given_up_when_its_counter_stands_still(
    tmp_path: Path, other: subprocess.Popen[str], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "_process_is_gone", lambda holder: False)  # as if it ran on another machine
    os.kill(other.pid, signal.SIGSTOP)
    begin = clock.now
    held = acquire(tmp_path, KEYS, "me:0", expiry_seconds=10.0, poll_seconds=0.25)
    assert 10.0 <= clock.now - begin <= 10.5  # once for the holder, not once for each of its keys
    assert held.tokens == dict.fromkeys(KEYS, 2)
    held.release()


def test_a_holder_that_beats_is_never_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_process_is_gone", lambda holder: False)
    first = acquire(tmp_path, KEYS, "me:0", beat_seconds=0.1)
    end = time.monotonic() + 4.5

    def until_then(owner: str) -> None:
        if time.monotonic() > end:
            raise Impatient

    with pytest.raises(Impatient):
        acquire(tmp_path, KEYS, "you:0", expiry_seconds=2.0, poll_seconds=0.05, on_wait=until_then)
    first.check()
    first.release()


def test_who_was_held_up_itself_waits_anew_for_the_holder(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file server that hangs holds up both: the holder's next sign may come a little after the observer's look."""
    monkeypatch.setattr(lease, "_process_is_gone", lambda holder: False)
    first = acquire(tmp_path, KEYS, "me:0", beat_seconds=600)
    silent_since, looks = clock.now, 0

    def hang(owner: str) -> None:
        nonlocal silent_since, looks
        looks += 1
        if looks == 3:
            clock.pass_by(100)
        if looks == 6:
            first._beat()
            silent_since = clock.now

    held = acquire(tmp_path, KEYS, "you:0", expiry_seconds=60, poll_seconds=0.5, on_wait=hang)
    assert looks > 6, "a live holder was given up after a hang"
    assert 60 <= clock.now - silent_since <= 61.5, "and one that is silent after it is given up as ever"
    held.release()


def test_a_fenced_holder_may_not_write_and_the_next_waits_until_it_has_left(tmp_path: Path) -> None:
    first = acquire(tmp_path, KEYS, "12_3:0")
    events: list[str] = []

    def work() -> None:
        while True:
            try:
                first.check()
            except LeaseLost as error:
                assert "taken over by 12_3:1" in str(error)
                break
            time.sleep(0.01)
        time.sleep(0.3)  # a write that is under way
        events.append("first has ended its write")
        first.release()

    thread = threading.Thread(target=work)
    thread.start()
    second = acquire(tmp_path, KEYS, "12_3:1", supersede=lambda owner: owner == "12_3:0", poll_seconds=0.01)
    events.append("second may write")
    thread.join()
    assert events == ["first has ended its write", "second may write"]
    second.check()
    second.release()


def test_clocks_play_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> float:
        raise AssertionError("a lease asked for the time of day")

    monkeypatch.setattr(time, "time", forbidden)
    acquire(tmp_path, KEYS, "me:0").release()
    first = acquire(tmp_path, KEYS, "me:0")
    for file in tmp_path.rglob("*"):
        if file.is_file():
            os.utime(file, (0, 0))  # as a file server with a clock of its own may have it
    first.check()
    with pytest.raises(Impatient):
        acquire(tmp_path, KEYS, "you:0", on_wait=impatient)
    first.release()


def test_of_many_that_want_the_same_one_holds_at_a_time(tmp_path: Path) -> None:
    inside, tokens, errors = 0, [], []

    def want(name: int) -> None:
        nonlocal inside
        for _ in range(4):
            held = acquire(tmp_path, KEYS[name % 2 :], f"thread:{name}", poll_seconds=0.002)
            inside += 1
            errors.extend(["two at once"] if inside != 1 else [])
            tokens.append(held.tokens["bb03"])
            time.sleep(0.003)
            inside -= 1
            held.release()

    threads = [threading.Thread(target=want, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and tokens == sorted(tokens) and len(set(tokens)) == 24


def test_a_claim_by_a_number_of_the_past_does_not_count(tmp_path: Path) -> None:
    """While one waits for a holder, another takes its place and leaves, and a third takes that place."""
    first, later = acquire(tmp_path, KEYS[:1], "first:0"), []

    def meanwhile(owner: str) -> None:
        if owner == "first:0":
            first.release()
            acquire(tmp_path, KEYS[:1], "second:0").release()
            later.append(acquire(tmp_path, KEYS[:1], "third:0"))
        else:
            raise Impatient(owner)

    with pytest.raises(Impatient, match="third:0"):
        acquire(tmp_path, KEYS[:1], "slow:0", on_wait=meanwhile, poll_seconds=0.01)
    later[0].check()
    later[0].release()


def test_an_attempt_that_is_given_up_leaves_nothing_held(tmp_path: Path) -> None:
    first = acquire(tmp_path, ["bb03"], "me:0")
    with pytest.raises(Impatient):
        acquire(tmp_path, KEYS, "you:0", on_wait=impatient)
    acquire(tmp_path, ["aa01", "aa02"], "they:0", on_wait=impatient).release()
    first.release()


def test_a_lease_whose_folder_is_gone_or_that_cannot_beat_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = acquire(tmp_path, KEYS, "me:0", expiry_seconds=0.01, beat_seconds=600)
    time.sleep(0.02)
    held.check()  # late, but it can still show a sign

    def full(self: Lease) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Lease, "_beat", full)
    time.sleep(0.02)
    with pytest.raises(LeaseLost, match="No space left"):
        held.check()
    held.release()
    with pytest.raises(LeaseLost, match="cannot be read"):
        held.check()


def test_a_check_is_cheap(tmp_path: Path) -> None:
    held = acquire(tmp_path, KEYS, "me:0")
    taken = []
    for _ in range(200):
        begin = time.perf_counter()
        held.check()
        taken.append(time.perf_counter() - begin)
    assert statistics.median(taken) < 2e-3  # it stands before every write; 15 us when measured
    held.release()
