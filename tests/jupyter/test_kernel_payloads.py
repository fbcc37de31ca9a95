"""The replies to cells: wishes to the front end (a pager, the text of the next cell), numbers."""

from __future__ import annotations

from pathlib import Path

from tests.jupyter.front_end import REPLY_S, FrontEnd, Ran


def wishes(ran: Ran) -> list[tuple[str, object]]:
    """By source: text and whether it takes the cell's place, or the pager's text."""
    assert ran.reply["status"] == "ok", ran.reply
    return [
        (one["source"], (one["text"], one["replace"]) if "text" in one else one["data"]["text/plain"])
        for one in ran.reply["payload"]
    ]


def test_a_cell_asks_its_front_end_for_the_next_input_and_the_pager(tmp_path: Path) -> None:
    (tmp_path / "part.py").write_text("x = 'ä'\nprint(x)\n", encoding="utf-8")
    with FrontEnd(tmp_path, "asks.ipynb") as page:
        assert wishes(page.run("1 + 1")) == []
        ran = page.run("shell = get_ipython()\nshell.set_next_input('old')\nshell.set_next_input('new = 1')")
        assert (wishes(ran), ran.messages) == ([("set_next_input", ("new = 1", False))], [])
        assert wishes(page.run("%load part")) == [("set_next_input", ("# %load part\nx = 'ä'\nprint(x)\n", True))]
        assert wishes(page.run("%recall 1")) == [("set_next_input", ("1 + 1", False))]
        (wish,) = wishes(page.run("def doubled(n):\n    'Twice n.'\n\ndoubled?"))
        assert wish[0] == "page"
        assert "Twice n." in str(wish[1])
        (wish,) = wishes(page.run("doubled?"))
        assert "Twice n." in str(wish[1])
        assert page.run("get_ipython().payload_manager.write_payload({'source': 'ask_exit'})").reply["payload"] == []
        failed = page.run("%load nothing.py")
        assert failed.reply["ename"] == "FileNotFoundError"
        for number in range(110):
            ran = page.run(f"{number}, get_ipython().execution_count")
        assert ran.value == f"(109, {ran.reply['execution_count']})"
        newest = ran.reply["execution_count"]
        assert wishes(page.run(f"%rep {newest - 1}-{newest}")) == [
            ("set_next_input", ("108, get_ipython().execution_count\n109, get_ipython().execution_count", False))
        ]
        assert page.run("%recall 1").reply["ename"] == "ValueError"  # long ago
        page.kill()
        page.again()
        assert wishes(page.run("get_ipython().set_next_input('after')")) == [("set_next_input", ("after", False))]


def test_the_number_of_a_cell_is_that_of_its_input_and_output(tmp_path: Path) -> None:
    with FrontEnd(tmp_path, "numbers.ipynb") as page:
        page.run("x = = 1")
        page.client.execute("'own'", store_history=False)
        own = page.client.get_shell_msg(timeout=REPLY_S)["content"]
        assert (own["status"], own["execution_count"]) == ("ok", 1)
        ran = page.run("'second'")
        assert ran.reply["execution_count"] == 2
        assert page.run("Out[2], In").value == "('second', ['x = = 1', \"'second'\", 'Out[2], In'])"


def test_a_front_end_that_writes_null_for_what_is_empty_is_answered(tmp_path: Path) -> None:
    with FrontEnd(tmp_path, "null.ipynb") as page:
        session = page.client.session
        asked = session.msg("execute_request", {"code": "6 * 7", "silent": False, "user_expressions": None})
        asked["metadata"] = asked["parent_header"] = None
        session.send(page.client.shell_channel.socket, asked)
        assert page.client.get_shell_msg(timeout=REPLY_S)["content"]["status"] == "ok"


def test_a_value_is_shown_before_what_the_cell_leaves_is_saved(tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    code = f"""
import os, time
class Slow:
    def __reduce__(self):
        while not os.path.exists({str(go_on)!r}):
            time.sleep(0.01)
        return int, (1,)
slow = Slow()
6 * 7"""
    with FrontEnd(tmp_path, "early.ipynb") as page:
        page.submit(code)
        shown = page.until(lambda message: message["msg_type"] == "execute_result")
        go_on.touch()
        assert shown["content"]["data"]["text/plain"] == "42"
        assert page.client.get_shell_msg(timeout=60)["content"]["status"] == "ok"
