"""Frames and arrays of objects: what comes back, and that unchanged columns are not pickled again."""

from __future__ import annotations

import importlib.util

import pytest

from checkpoint.capture.buffer_digests import Buffers
from checkpoint.format.group_table import PAGE_BYTES
from tests.unit.checkpoint_process import Process
from tests.unit.test_checkpoint_capture import data_bytes
from tests.unit.test_checkpoint_kinds import carried

COLUMN = "import numpy as np\nitems = np.array([f'item {n}' for n in range(100_000)], object); small = {'k': [1]}\n"

COUNTED = """
import checkpoint.pickling.object_columns as o
c.ASIDE_PICKLING_NS = 10**10
counts = []
def counted(values, pickled=o._pickled):
    counts.append(len(values))
    return pickled(values)
o._pickled = counted
"""


def test_an_unchanged_column_is_not_pickled_again() -> None:
    if not Buffers().tracks:
        pytest.skip("the kernel does not note writes (userfaultfd with WP_ASYNC, Linux 6.7)")
    with Process() as process, Process() as other:
        process.run(COLUMN)
        process.aside()
        process.run("import checkpoint.capture.incremental_capture as c; c.ASIDE_PICKLING_NS = 0")
        process.aside()
        process.run(COUNTED)
        process.run("small['k'].append(2)")
        where, payload = process.aside()
        assert where == "here"
        assert process.value("max(counts)") <= 1_022, "what stands at the ends, twice"
        assert 0 < data_bytes(payload) <= 2 * PAGE_BYTES
        process.run("items[60_000] = 'changed'; items[0] = 'first'")
        assert data_bytes(process.aside()[1]) > 1_000_000, "one pickle, whose later part moved"
        other.restore(process.whole())
        assert other.value("(items[0], items[60_000], items[99_999])") == ("first", "changed", "item 99999")


def test_what_stands_at_the_ends_of_a_column_is_compared() -> None:
    """The pages there are not watched, and a new object may be where an old one was."""
    with Process() as process, Process() as other:
        process.run(COLUMN)
        process.run("import checkpoint.capture.incremental_capture as c; c.ASIDE_PICKLING_NS = 0")
        for _ in range(3):
            process.aside()
        process.run(
            "import checkpoint.pickling.object_columns as o\nitems[0] = None; items[0] = 'item x'; items[-1] = 2"
        )
        assert data_bytes(process.aside()[1]) > 1_000_000
        other.restore(process.whole())
        assert other.value("(items[0], items[1], items[-1])") == ("item x", "item 1", 2)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_objects(order: str) -> None:
    code = f"""
import numpy as np, datetime, decimal
wide = np.array([[n, str(n), None, 1.5, b'x', n > 5] for n in range(2_000)], object, order={order!r})
view, back = wide[5:, 1], wide[::-1]
dates = np.array([datetime.date(2024, 1, 1 + n % 28) for n in range(2_000)] + [decimal.Decimal('1.5')], object)
shared = [1]
held = np.array([shared] * 2_000 + [None], object)
locked = wide.copy(order={order!r}); locked.flags.writeable = False
"""
    process, report = carried(code)
    with process:
        assert report["lost"] == []
        assert process.value("wide[7].tolist()") == [7, "7", None, 1.5, b"x", True]
        assert process.value("(wide.shape, wide.base is None, view.base is back.base is wide)") == (
            (2000, 6), True, True,
        )  # fmt: skip
        process.run("wide[5, 1] = 'seen'")
        assert process.value("(view[0], back[-6][1])") == ("seen", "seen")
        assert process.value("(str(dates[1]), str(dates[-1]))") == ("2024-01-02", "1.5")
        assert process.value("held[0] is held[1] is shared") is True
        assert process.value(f"(locked.flags.writeable, wide.flags.{order.lower()}_contiguous)") == (False, True)


def test_pandas() -> None:
    code = """
import numpy as np, pandas as pd
n = 5_000
frame = pd.DataFrame({'number': np.arange(float(n)), 'text': [f'row {k}' for k in range(n)],
    'town': pd.Categorical(['a', 'b'] * (n // 2)), 'when': pd.date_range('2024-01-01', periods=n, freq='h'),
    'mixed': np.array([k if k % 2 else None for k in range(n)], object),
    'maybe': pd.array([k if k % 3 else None for k in range(n)], dtype='Int64'),
    'any': np.array([k if k % 2 else pd.NA for k in range(n)], object)},
    index=pd.MultiIndex.from_product([range(n // 2), ['x', 'y']], names=['one', 'two']))
also = [frame]
column = pd.Series(['a', 'b', None] * 1_000, name='letters')
empty = pd.DataFrame()
was = frame.copy(deep=True)
index = frame.index
"""
    process, report = carried(code)
    with process:
        assert report["lost"] == []
        process.run("pd.testing.assert_frame_equal(frame, was)")
        assert process.value("also[0] is frame") is True
        assert process.value("frame.index is index") is True
        assert process.value("(column.isna().sum() == 1000, len(empty), frame.dtypes.astype(str).tolist())") == (
            True, 0, ["float64", "str", "category", "datetime64[us]", "object", "Int64", "object"],
        )  # fmt: skip
        process.run("frame.loc[(0, 'x'), 'text'] = 'changed'; frame['new'] = 1")
        assert process.value("frame['text'].iloc[0]") == "changed"


def test_polars() -> None:
    code = """
import polars as pl
frame = pl.DataFrame({'n': list(range(5_000)), 'text': [f'row {n}' for n in range(5_000)], 'l': [[1, 2]] * 5_000})
series = frame['text']
lazy = frame.lazy().filter(pl.col('n') > 4_990).select('n')
also = {'frame': frame}
"""
    process, report = carried(code)
    with process:
        assert report["lost"] == []
        assert process.value("(frame.shape, frame['text'][77], frame['l'][3].to_list())") == (
            (5000, 3), "row 77", [1, 2],
        )  # fmt: skip
        assert process.value("(also['frame'] is frame, series.name, lazy.collect().height)") == (True, "text", 9)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed: it has gigabytes")
def test_torch() -> None:
    code = """
import torch
weights = torch.arange(100_000.0, requires_grad=True)
view = weights.detach()[10:]
model = torch.nn.Linear(3, 2)
also = model.weight
"""
    process, report = carried(code)
    with process:
        assert report["lost"] == []
        assert process.value("(float(weights[7]), weights.requires_grad, also is model.weight)") == (7.0, True, True)
        process.run("view[0] = -1")
        assert process.value("float(weights[10])") == -1.0
