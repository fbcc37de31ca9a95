"""JupyterLab in Debian's Chromium: what a person does with a notebook, and what outlives the kernel and the page.

`DURABLE_PICTURES=DIR` writes the pictures of docs/jupyter.md there.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest

sync_api: Any = pytest.importorskip("playwright.sync_api")

SHOWN_MS = 90_000
"""For what a page shows: Chromium, a server and two kernels share two processors with other tests."""

CELLS = [
    "print('ran', 6 * 7)",
    "import matplotlib.pyplot as plt\nplt.figure(figsize=(3, 1.5))\nplt.plot([1, 2, 3], [1, 4, 9])\nplt.show()",
    "from ipywidgets import IntSlider, Label, VBox\nslider, label = IntSlider(value=3), Label('not moved')\n"
    "slider.observe(lambda change: setattr(label, 'value', f\"moved to {change['new']}\"), 'value')\n"
    "VBox([slider, label])",
    "name = input('who? ')\nprint('hello', name)",
    "print('runs')\nwhile True: pass",
    "name, slider.value",
    "import os, time\nprint('waits')\nwhile not os.path.exists('go'): time.sleep(0.05)\nprint('finished while away')",
    "len(name)",
]


class Lab:
    """A server of JupyterLab, and a page of its one notebook."""

    def __init__(self, directory: Path, chromium: Any) -> None:
        self.directory = directory
        self._chromium = chromium
        cells = [nbformat.v4.new_code_cell(code) for code in CELLS]
        metadata = {"kernelspec": {"name": "durable", "display_name": "Durable Python", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), directory / "days.ipynb")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        options = {
            "ServerApp.port": self.port,
            "ServerApp.root_dir": str(directory),
            "ServerApp.allow_root": True,
            "ServerApp.open_browser": False,
            "IdentityProvider.token": "",
            "LabApp.expose_app_in_browser": True,
        }
        command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]
        settings = directory / ".settings"
        (settings / "@jupyterlab" / "apputils-extension").mkdir(parents=True)
        quiet = settings / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
        quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}')
        places = {"JUPYTERLAB_WORKSPACES_DIR": str(directory / ".pages"), "JUPYTERLAB_SETTINGS_DIR": str(settings)}
        environment = {**os.environ, **places}
        self._server = subprocess.Popen(command, cwd=directory, env=environment, stderr=subprocess.DEVNULL)
        self._answers()
        self.page: Any = None
        self.open()

    def _answers(self) -> None:
        until = time.monotonic() + SHOWN_MS / 1000
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api", timeout=5) as answer:
                    json.load(answer)
                    return
            except OSError:
                assert time.monotonic() < until, "JupyterLab answers"
                time.sleep(0.2)

    def open(self) -> None:
        """A new page, as a person opens it who comes back."""
        self.page = self._chromium.new_context(viewport={"width": 900, "height": 700}).new_page()
        self.page.set_default_timeout(SHOWN_MS)
        self.page.goto(f"http://127.0.0.1:{self.port}/lab/tree/days.ipynb?reset")
        self.cell(0).wait_for()
        self.idle()

    def idle(self) -> None:
        """Wait until the page has a kernel that does nothing."""
        status = "jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status"
        self.page.wait_for_function(f"() => {status} === 'idle'")

    def cell(self, number: int) -> Any:
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(number)

    def run(self, number: int) -> Any:
        """Run a cell; where its output is."""
        self.cell(number).locator(".cm-content").click()
        self.page.evaluate("() => { jupyterapp.commands.execute('notebook:run-cell') }")
        return self.cell(number).locator(".jp-Cell-outputArea")

    def shows(self, number: int, text: str) -> None:
        """Wait until a cell's output has that text."""
        sync_api.expect(self.cell(number).locator(".jp-Cell-outputArea")).to_contain_text(text, timeout=SHOWN_MS)

    def command(self, name: str) -> None:
        self.page.evaluate(f"() => {{ jupyterapp.commands.execute({name!r}) }}")

    def kernel(self) -> int:
        """The kernel's process, of which the zygote of its worker is a fork."""
        forks = {
            one.pid: one.ppid()
            for one in psutil.Process(self._server.pid).children(recursive=True)
            if "durable.integrations.jupyter" in one.cmdline()
        }
        [found] = [pid for pid, parent in forks.items() if parent not in forks]
        return found

    def picture(self, name: str, *cells: int) -> None:
        """Keep a picture of these cells, where pictures are asked for."""
        place = os.environ.get("DURABLE_PICTURES")
        if place:
            boxes = [self.cell(number).bounding_box() for number in cells]
            top, bottom = boxes[0]["y"], boxes[-1]["y"] + boxes[-1]["height"]
            clip = {"x": boxes[0]["x"], "y": top, "width": boxes[0]["width"], "height": bottom - top}
            self.page.screenshot(path=str(Path(place) / name), clip=clip)

    def close(self) -> None:
        self._server.send_signal(signal.SIGTERM)
        try:
            self._server.wait(20)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    chromium = shutil.which("chromium")
    if chromium is None:
        assert os.environ.get("CI") != "true", "Chromium is not installed: .ci/run installs it"
        pytest.skip("Chromium is not installed; install Debian's chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        found = Lab(tmp_path, browser)
        try:
            yield found
        finally:
            found.close()
            browser.close()


@pytest.mark.timeout(600)
def test_a_day_with_a_notebook(lab: Lab) -> None:
    lab.run(0)
    lab.shows(0, "ran 42")
    lab.run(1).locator("img").wait_for()
    output = lab.run(2)
    output.locator(".noUi-handle").press("ArrowRight")
    lab.shows(2, "moved to 4")
    lab.picture("jupyter-widget.png", 1, 2)
    lab.run(3).locator("input.jp-Stdin-input").fill("ana")
    lab.page.keyboard.press("Enter")
    lab.shows(3, "hello ana")
    lab.run(4)
    lab.shows(4, "runs")
    lab.command("notebook:interrupt-kernel")
    lab.shows(4, "KeyboardInterrupt")
    os.kill(lab.kernel(), signal.SIGKILL)
    button = lab.page.locator(".jp-Dialog button.jp-mod-accept")
    button.click()
    lab.idle()
    lab.run(5)
    lab.shows(5, "('ana', 4)")
    lab.shows(5, "Restored:")
    lab.picture("jupyter-restored.png", 5)
    lab.run(6)
    lab.shows(6, "waits")
    lab.command("docmanager:save")
    lab.page.wait_for_function("!jupyterapp.shell.currentWidget.context.model.dirty")
    lab.page.close()
    (lab.directory / "go").touch()
    lab.open()
    lab.run(7)
    lab.shows(7, "While this page was closed")
    lab.shows(7, "finished while away")
    lab.shows(7, "3")
    lab.picture("jupyter-reopened.png", 7)
