"""Widgets are alive while the front end is there, and are said to be gone after a restore."""

from __future__ import annotations

from pathlib import Path

from tests.jupyter.front_end import FrontEnd, Ran


def opened(ran: Ran, model: str) -> str:
    """The comm of the widget of that model."""
    for message in ran.messages:
        if message["msg_type"] == "comm_open":
            content = message["content"]
            if content["data"]["state"].get("_model_name") == model:
                assert content["target_name"] == "jupyter.widget"
                return str(content["comm_id"])
    raise AssertionError(f"no {model} among {ran.kinds()}")


def move(page: FrontEnd, comm: str, value: object) -> str:
    """Send what a slider does when a person moves it."""
    content = {"comm_id": comm, "data": {"method": "update", "state": {"value": value}, "buffer_paths": []}}
    message = page.client.session.msg("comm_msg", content)
    page.client.shell_channel.send(message)
    return str(message["header"]["msg_id"])


def test_a_slider_calls_back_and_is_closed_after_a_restore(tmp_path: Path) -> None:
    with FrontEnd(tmp_path, "widgets.ipynb") as page:
        ran = page.run("import ipywidgets\nslider = ipywidgets.IntSlider(value=3)\nseen = []\nslider")
        assert ran.kinds()[-1] == "execute_result"
        view = ran.messages[-1]["content"]["data"]["application/vnd.jupyter.widget-view+json"]
        comm = opened(ran, "IntSliderModel")
        assert view["model_id"] == comm
        page.run("def moved(change):\n    print('moved to', change['new'])\nslider.observe(moved, 'value')")
        moved = move(page, comm, 8)
        page.until(lambda one: one["msg_type"] == "stream" and one["parent_header"].get("msg_id") == moved)
        assert page.run("slider.value").value == "8"
        state = page.run("slider.value = 9")
        assert "comm_msg" in state.kinds()
        page.kill()
        page.again()
        move(page, comm, 1)
        page.until(lambda one: one["msg_type"] == "comm_close" and one["content"]["comm_id"] == comm)
        ran = page.run("print(slider.value)\nslider")
        assert ran.stdout == "9\n"
        anew = opened(ran, "IntSliderModel")
        opened(ran, "LayoutModel")
        assert anew == comm
        move(page, anew, 4)
        assert page.run("slider.value").value == "4"


def test_interact_shows_in_its_own_output(tmp_path: Path) -> None:
    with FrontEnd(tmp_path, "interact.ipynb") as page:
        ran = page.run("from ipywidgets import interact\n@interact(n=(0, 10))\ndef show(n=5):\n    print('n is', n)")
        comm = opened(ran, "IntSliderModel")
        output = opened(ran, "OutputModel")
        moved = move(page, comm, 7)
        captures = page.until(
            lambda one: (
                one["msg_type"] == "comm_msg"
                and one["content"]["comm_id"] == output
                and one["content"]["data"]["state"].get("msg_id") not in ("", None)
            )
        )
        assert captures["content"]["data"]["state"]["msg_id"] == moved
        shown = page.until(lambda one: one["msg_type"] == "stream")
        assert shown["content"]["text"] == "n is 7\n"


def test_a_progress_bar_of_tqdm(tmp_path: Path) -> None:
    with FrontEnd(tmp_path, "bar.ipynb") as page:
        ran = page.run("from tqdm.auto import tqdm\nfor _ in tqdm(range(50)): pass")
        bar = opened(ran, "FloatProgressModel")
        values = [
            one["content"]["data"]["state"].get("value")
            for one in ran.messages
            if one["msg_type"] == "comm_msg" and one["content"]["comm_id"] == bar
        ]
        assert 50 in values


def test_an_endless_callback_is_interrupted(tmp_path: Path) -> None:
    with FrontEnd(tmp_path, "endless.ipynb") as page:
        ran = page.run(
            "import ipywidgets\nslider = ipywidgets.IntSlider()\n"
            "def stuck(change):\n    print('stuck')\n    while True: pass\nslider.observe(stuck, 'value')\nslider"
        )
        move(page, opened(ran, "IntSliderModel"), 1)
        page.until(lambda one: one["msg_type"] == "status" and one["content"]["execution_state"] == "busy")
        page.manager.interrupt_kernel()
        page.manager.interrupt_kernel()
        assert page.run("1 + 1").value == "2"
