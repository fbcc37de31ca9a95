"""Snapshots of a namespace. Imported before any code of a session runs, so that it knows what the worker began with."""

import os
import sys

STARTED_ENVIRONMENT = dict(os.environ)
STARTED_PATH = list(sys.path)
STARTED_RECURSION = sys.getrecursionlimit()
