"""Captures in a forked child: what arrives, what the code around it notices (nothing), what happens when it fails."""

from __future__ import annotations

import subprocess
import sys

from checkpoint.format.group_table import PAGE_BYTES
from checkpoint.format.payload import CHUNK_BYTES, decode_payload
from tests.unit.checkpoint_process import Process
from tests.unit.test_checkpoint_capture import data_bytes

BIG = "import numpy as np\nbig = np.arange(2_000_000.0)\nsmall = {'k': [1]}"


SLEEPERS = """
import os, threading
from checkpoint.capture.forked_capture import _others_sleep
while not _others_sleep(): pass
"""
"""Until a library's threads, which spin for a while after they started, are asleep."""


def test_a_large_namespace_is_captured_aside_as_it_was_at_the_fork() -> None:
    with Process() as first, Process() as second:
        first.run(BIG)
        where, payload = first.aside("big[5] = -1; small['k'].append(2)")
        assert where == "aside"
        second.restore(payload)
        assert second.value("(float(big[5]), float(big.sum()), small)") == (5.0, 2_000_000 * 1_999_999 / 2, {"k": [1]})


def test_what_changed_during_a_capture_is_in_the_next_one() -> None:
    with Process() as process:
        process.run(BIG)
        process.aside()
        process.run("big += 1")
        assert process.aside("big[5] = -1; small['k'].append(2)")[0] == "aside"
        _where, payload = process.aside()
        assert 0 < data_bytes(payload) <= CHUNK_BYTES + PAGE_BYTES
        with Process() as other:
            other.restore(process.whole())
            assert other.value("(float(big[5]), float(big[6]), small)") == (-1.0, 7.0, {"k": [1, 2]})


def test_a_small_namespace_is_not_worth_a_fork() -> None:
    with Process() as process:
        process.run("a = [1]")
        process.aside()
        process.run("b = 2")
        assert process.aside()[0] == "here"


WAITS = """
import time
import checkpoint.capture.incremental_capture as capture
class Waits:
    def __reduce__(self):
        time.sleep(0.02)
        return Waits, ()
waits = Waits()
"""


def test_pickling_that_others_on_the_machine_held_up_is_not_worth_a_fork_and_one_that_waits_for_long_is() -> None:
    with Process() as process:
        process.run(WAITS + "capture.ASIDE_PICKLING_NS, capture.WAITED_NS_MIN = 10**10, 10**12")
        process.aside()
        assert process.aside()[0] == "here"
        process.run("capture.ASIDE_PICKLING_NS, capture.WAITED_NS_MIN = 15_000_000, 15_000_000")
        process.aside()
        assert process.aside()[0] == "aside"


def test_a_small_change_beside_a_large_array_is_captured_here_and_is_small() -> None:
    with Process() as process:
        # On a busy machine anything takes long.
        process.run("import checkpoint.capture.incremental_capture as capture\ncapture.ASIDE_PICKLING_NS = 10**12")
        process.run(BIG)
        process.aside()
        process.aside()
        process.run("small['k'].append(2)")
        where, payload = process.aside()
        assert where == "here"
        assert 0 < data_bytes(payload) <= 2 * PAGE_BYTES


def test_user_code_that_waits_for_its_children_never_meets_the_child() -> None:
    with Process() as process:
        process.run(
            BIG + "\nimport os, signal\nends = []\nsignal.signal(signal.SIGCHLD, lambda *_: ends.append(1))" + SLEEPERS
        )
        where, _payload = process.aside("""
try:
    os.wait()
    met = True
except ChildProcessError:
    met = False
""")
        assert where == "aside"
        assert process.value("(met, ends)") == (False, [])


def test_beside_a_running_thread_it_is_a_grandchild_and_the_code_does_not_meet_it_either() -> None:
    spins = """
import threading, os
stop = False
def spin():
    while not stop: pass
spinner = threading.Thread(target=spin); spinner.start()
"""
    with Process() as process:
        process.run(BIG + spins)
        where, payload = process.aside(
            "try:\n    os.wait()\n    met = True\nexcept ChildProcessError:\n    met = False"
        )
        assert where == "aside"
        assert process.value("met") is False
        process.run("stop = True; spinner.join()")
        with Process() as other:
            other.restore(payload)
            assert other.value("float(big[-1])") == 1_999_999.0


def test_a_child_that_hangs_is_killed_and_the_next_capture_is_whole_and_made_here() -> None:
    hangs = """
import checkpoint.capture.forked_capture, threading
checkpoint.capture.forked_capture.PROGRESS_S = 1
lock = threading.Lock()
class Locked:
    def __getstate__(self):
        with lock: return {'n': 1}
locked = Locked()
"""
    with Process() as process:
        process.run(BIG + hangs)
        process.aside()
        process.run("big += 1; much = ['x' * 1_000 + str(n) for n in range(30_000)]")
        process.run("lock.acquire()")
        where, payload = process.aside("lock.release()")
        assert (where, payload) == ("aside", b"")
        where, payload = process.aside()
        assert where == "here"
        with Process() as other:
            other.restore(payload)
            assert other.value("(locked.n, float(big[0]), len(much))") == (1, 1.0, 30_000)


def test_what_the_engine_could_not_store_comes_again() -> None:
    with Process() as process:
        process.run(BIG)
        process.aside(stored=False)
        where, payload = process.aside()
        assert where == "here"
        assert data_bytes(payload) > 16_000_000


def test_a_pipe_of_user_code_ends_when_the_code_ends_it() -> None:
    with Process() as process:
        process.run(
            BIG
            + "\nimport os, time\nr, w = os.pipe()\n"
            + "class Slow:\n    def __getstate__(self): time.sleep(3); return 1"
        )
        process.aside()
        process.run("much = ['x' * 1_000 + str(n) for n in range(30_000)]; slow = Slow(); big += 1")
        where, _payload = process.aside(
            "os.close(w); began = time.monotonic(); os.read(r, 1); took = time.monotonic() - began"
        )
        assert where == "aside"
        assert process.value("took") < 2


def test_random_draws_go_on_as_if_nothing_had_been() -> None:
    with Process() as first, Process() as second:
        first.run(BIG + "\nimport random; random.seed(5)")
        where, payload = first.aside("drawn = random.random()")
        assert where == "aside"
        second.restore(payload)
        assert second.value("random.random()") == first.value("drawn")
        assert decode_payload(payload).chunks


def test_where_no_child_can_be_made_the_code_waits_and_everything_is_captured_here() -> None:
    none = (
        "import checkpoint.capture.forked_capture as aside\n"
        "def none(*_): raise BlockingIOError\naside._quiet_fork = aside._fork = none"
    )
    with Process() as first, Process() as second:
        first.run(BIG + "\n" + none)
        where, payload = first.aside()
        assert where == "here"
        second.restore(payload)
        assert second.value("float(big[-1])") == 1_999_999.0


WAKING = """
import os, threading, time
from checkpoint.capture import forked_capture as aside

def wake():
    while True:
        time.sleep(0.0005)

for _ in range(4):
    threading.Thread(target=wake, daemon=True).start()
big = bytearray(300 * 2**20)
for at in range(0, len(big), 4096):
    big[at] = 1
for _ in range(12):
    copy = aside.run_aside(lambda send: ([], b"came to its end"))
    while os.read(copy.reader, 4096):
        pass
    assert copy.learned() == b"came to its end"
os._exit(0)
"""


def test_a_child_runs_whatever_threads_wake_while_it_is_made() -> None:
    done = subprocess.run([sys.executable, "-c", WAKING], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
