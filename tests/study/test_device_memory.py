"""Memory that is kept for the next batch, and returned between networks."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from study.device import return_memory

_SCRIPT = """
import re
from study.device import keep_memory, return_memory

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024

keep_memory()
blocks = [bytearray(2**20) for _ in range(200)]
small = [bytearray(2**14) for _ in range(50)]  # what stays lies behind what is freed
between = blocks[::2]
held = resident()
del blocks
small += [bytearray(2**14) for _ in range(50)]
del between
kept = resident()
return_memory()
print(held, kept, resident())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc, as Linux has it")
def test_freed_blocks_are_kept_until_they_are_returned():
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True)
    held, kept, left = map(int, re.findall(r"\d+", done.stdout))
    assert held >= 200 and kept >= held - 20, "freed blocks stay"
    assert left <= held - 150, "wherever they lie"


def test_what_waits_in_cycles_is_freed():
    class Held:
        itself: Held

    collecting = gc.isenabled()
    gc.disable()
    try:
        held = Held()
        held.itself = held
        kept = weakref.ref(held)
        del held
        assert kept() is not None
        return_memory()
        assert kept() is None
    finally:
        if collecting:
            gc.enable()
