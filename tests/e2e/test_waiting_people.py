"""A short run of the campaign: sessions and functions that wait, answered from elsewhere, the engine killed twice."""

import subprocess

from tests.warm_python import PYTHON


def test_all_end_with_their_own_answers_and_none_is_asked_twice() -> None:
    command = [PYTHON, "-m", "tests.e2e.waiting_people", "--sessions", "2", "--functions", "9"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
