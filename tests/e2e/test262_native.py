"""The other side of test262_suite.py: quickjs-ng as native code, one case after another, in a process that may crash.

`python test262_native.py DIRECTORY`: DIRECTORY has the package quickjs-ng. A line of JSON for each case: the scripts,
in order; the answer is a line too, what they ended with and what they printed.
"""

from __future__ import annotations

import json
import sys
from typing import Any

STACK_BYTES = 800 * 1024
MEMORY_BYTES = 128 * 2**20
PRINT = "(() => { let text = ''; globalThis.print = (value) => { text += `${value}\\n`; }; return () => text; })()"


def run(quickjs: Any, scripts: list[str], seconds: float) -> tuple[str, str]:
    """What the scripts ended with, "" for nothing, and what they printed."""
    context = quickjs.Context()
    context.set_max_stack_size(STACK_BYTES)
    context.set_memory_limit(MEMORY_BYTES)
    context.set_time_limit(seconds)  # with it no Python is called
    printed = context.eval(PRINT)
    try:
        for script in scripts:
            context.eval(script)
        while context.execute_pending_job():
            pass
    except Exception as error:
        return str(error) or type(error).__name__, printed()
    return "", printed()


def main() -> None:
    """Until there are no more lines."""
    sys.path.insert(0, sys.argv[1])
    import quickjs

    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        case = json.loads(line)
        print(json.dumps(run(quickjs, case["scripts"], case["seconds"])), file=answers, flush=True)


if __name__ == "__main__":
    main()
