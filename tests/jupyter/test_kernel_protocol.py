"""Jupyter's own tests of a kernel, with a sample of everything that is claimed."""

from __future__ import annotations

import jupyter_kernel_test


class KernelTests(jupyter_kernel_test.KernelTests):
    kernel_name = "durable"
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = [  # noqa: RUF012
        {"text": "zi", "matches": {"zip"}},
        {"text": "'text'.upp", "matches": {"upper"}},
    ]
    complete_code_samples = (
        "1",
        "print('hello, world')",
        "def f(x):\n  return x*2\n\n\n",
        "await f()",
        "%time 1",
        "!ls",
    )
    incomplete_code_samples = ("print('''hello", "def f(x):\n  x*2", "for i in range(3):", "[1,")
    invalid_code_samples = ("import = 7q", "x = )")
    code_page_something = "zip?"
    code_generate_error = "raise ValueError('no')"
    code_execute_result = (
        {"code": "6*7", "result": "42"},
        {"code": "(1, 'a')", "result": "(1, 'a')"},
        {
            "code": "class Page:\n    def _repr_html_(self): return '<b>x</b>'\nPage()",
            "mime": "text/html",
            "result": "<b>x</b>",
        },
    )
    code_display_data = (
        {"code": "class Page:\n    def _repr_html_(self): return '<b>x</b>'\ndisplay(Page())", "mime": "text/html"},
        {"code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))", "mime": "text/html"},
        {"code": "from IPython.display import Math, display; display(Math('a'))", "mime": "text/latex"},
        {"code": "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()", "mime": "image/png"},
    )
    code_history_pattern = "6?7*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"


class IopubWelcomeTests(jupyter_kernel_test.IopubWelcomeTests):
    kernel_name = "durable"
    support_iopub_welcome = True
