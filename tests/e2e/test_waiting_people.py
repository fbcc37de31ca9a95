"""A short run of the campaign: sessions and functions that wait, answered from elsewhere, the engine killed twice."""

from pathlib import Path

from tests.e2e.waiting_people import campaign


async def test_all_end_with_their_own_answers_and_none_is_asked_twice(tmp_path: Path) -> None:
    (await campaign(tmp_path, sessions=3, functions=9, seed=1)).check()
