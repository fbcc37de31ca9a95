"""The dashboard's models without I/O: the axis of a timeline, lists, texts, Markdown, problems of answers, logins."""

from __future__ import annotations

import gzip
import subprocess
import sys
from dataclasses import replace

import pytest

from durable.core.clock import TIME_MAX_MS
from durable.engine.step_outline import StepOutline
from durable.engine.views import iso
from durable.http.dashboard.browser_login import CODE_S, LOGIN_S, LOGINS_MAX, Logins, next_page
from durable.http.dashboard.page_templates import assets
from durable.http.dashboard.views.execution_list import ExecutionFilters, lines
from durable.http.dashboard.views.timeline import FOLD_WIDTH_FACTOR, time_axis, whole_lane
from durable.http.dashboard.views.value_text import cut, preview
from durable.http.pages.answer_problems import AnswerProblem, problems_of
from durable.http.pages.markdown import markdown_block, markdown_line
from durable.records.view_models import ExecutionView
from durable.store.rows import ExecutionRow

DAY_MS = 86_400_000


def test_time_runs_evenly_where_nothing_is_idle() -> None:
    axis = time_axis(1_000, 2_000, [(1_000, 2_000)])
    assert [axis.place(at) for at in (0, 1_000, 1_250, 2_000, 9_000)] == [0.0, 0.0, 0.25, 1.0, 1.0]
    assert axis.folds == ()


def test_a_long_idle_stretch_is_folded_and_what_is_around_it_keeps_its_proportions() -> None:
    axis = time_axis(0, DAY_MS, [(0, 1_000), (DAY_MS - 3_000, DAY_MS)])
    (fold,) = axis.folds
    assert fold.seconds == (DAY_MS - 4_000) / 1000
    assert fold.width == FOLD_WIDTH_FACTOR
    assert fold.place == pytest.approx((1 - FOLD_WIDTH_FACTOR) / 4)
    assert axis.place(1_000) == pytest.approx(fold.place)
    assert axis.place(DAY_MS - 3_000) == pytest.approx(fold.place + fold.width)
    assert axis.place(DAY_MS) == 1.0
    assert time_axis(0, DAY_MS, [(0, 1_000)], fold=False).folds == ()


def test_places_never_go_back_whatever_is_busy() -> None:
    for n in range(50):
        busy = [(k * n * 997.0 % 90_000, k * n * 997.0 % 90_000 + 50 * n) for k in range(n)]
        axis = time_axis(0, 100_000, busy)
        places = [axis.place(at) for at in range(0, 100_001, 500)]
        assert places == sorted(places)
        assert (places[0], places[-1]) == (0.0, 1.0)


STEP = StepOutline("a.1", "exec:a.1", "step", "s", "a", 1_000, 2_000, failed=False, execution="")


def test_the_lane_tells_running_from_waiting_for_people() -> None:
    asked = replace(STEP, id="a:input:1", kind="input", created_at=2_000, settled_at=3_000)
    axis = time_axis(0, 4_000, [], fold=False)
    lane = whole_lane(axis, [STEP, asked], 0, 4_000)
    assert [(bar.kind, round(bar.place, 2), round(bar.width, 2)) for bar in lane] == [
        ("queue", 0.0, 0.25), ("run", 0.25, 0.25), ("people", 0.5, 0.25), ("idle", 0.75, 0.25),
    ]  # fmt: skip


def row(name: str, parent: str = "") -> ExecutionRow:
    tags = {"durable:parent": f"exec:{parent}.1"} if parent else {}
    return ExecutionRow(
        name, "running", "f::f@1", None, None, None, None, tags, 1, None, 2**53, 1, 0, None, None, None, None
    )


def view(name: str) -> ExecutionView:
    return ExecutionView(
        id=name, kind="function", state="running", stuck=False, function="f::f@1", name="f", session=None, n=None,
        created_at="2026-01-01T00:00:00Z", settled_at=None, duration=1, timeout_at=None, starts=1, attempts=0,
        last_error=None, note=None, engine=None, engine_pid=None, waits_for=[], error=None,
    )  # fmt: skip


def test_children_stand_under_their_parents_where_these_are_on_the_page() -> None:
    rows = [row("grandchild", "child"), row("other"), row("child", "root"), row("stray", "elsewhere"), row("root")]
    found = lines(rows, [view(each.id) for each in rows])
    assert [(line.view.id, line.is_child, line.children) for line in found] == [
        ("other", False, 0), ("stray", False, 0), ("root", False, 1), ("child", True, 1), ("grandchild", True, 0),
    ]  # fmt: skip
    assert found[1].parent == "elsewhere"


@pytest.mark.parametrize("wrong", [{"state": "done"}, {"tag": "x"}, {"tag": "=x"}, {"since": "yesterday"}])
def test_a_filter_that_is_none_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(Exception, match=r"state|tag|since"):
        ExecutionFilters(**wrong).asked(0)


def test_texts_are_cut_and_say_how_much_is_left() -> None:
    assert cut("abc", 2) == ("ab", 1)
    assert cut("abc", 3) == ("abc", 0)
    assert len(preview("x" * 10_000)) == 201
    assert preview({"a": ["b\nc"]}) == '{"a": ["b\\nc"]}'


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[x](javascript:alert(1))",
        "[x](JaVaScRiPt:alert(1))", "[x](data:text/html,<script>)", "[x](vbscript:x)", "![x](http://else.example/x)",
        "<javascript:alert(1)>", "[x](<java\nscript:alert(1)>)", "[a]: javascript:alert(1)\n\n[a]",
        "[x](//else.example)", "[x](&#106;avascript:alert(1))", "`<b>`", "<http://a\"onmouseover=alert(1)>",
    ],
)  # fmt: skip
def test_markdown_does_nothing(hostile: str) -> None:
    for text in (markdown_block(hostile), markdown_line(hostile)):
        lower = text.lower()
        assert "<script" not in lower
        assert "<img" not in lower
        assert 'href="javascript' not in lower
        assert 'href="data' not in lower
        assert 'href="//' not in lower
        assert "onmouseover=" not in lower.replace("&quot;onmouseover=", "").replace("%22onmouseover=", "")


def test_markdown_is_markup_where_it_is_harmless() -> None:
    found = markdown_block("# Why\n\n- one\n- *two*\n\n[x](https://a.example)\n\n|a|\n|-|\n|b|")
    assert "<h1>Why</h1>" in found
    assert "<em>two</em>" in found
    assert '<a href="https://a.example" rel="noopener noreferrer nofollow" target="_blank">x</a>' in found
    assert "<td>b</td>" in found
    assert markdown_block("x" * 200_000).startswith("<pre>")


@pytest.mark.parametrize(
    ("loc", "message", "field", "words"),
    [
        (["count"], "'x' is not of type 'integer'", "count", "Write a whole number, such as 3."),
        ([], "'count' is a required property", "count", "This is needed."),
        (["line"], "'sku' is a required property", "line", "sku is needed."),
        (["count"], "0 is less than the minimum of 1", "count", "It is at least 1."),
        (["lines", 2], "1 is not of type 'string'", "lines", "At 2: Write a text."),
        (["size"], "'x' is not one of ['s', 'm']", "size", "Choose one of: 's', 'm'."),
        ([], "anything else", "", "anything else"),
    ],
)
def test_problems_are_told_at_their_field_in_plain_words(
    loc: list[object], message: str, field: str, words: str
) -> None:
    assert problems_of([{"loc": loc, "msg": message}]) == [AnswerProblem(field, words)]


def test_a_login_lasts_its_time_and_a_code_is_good_once() -> None:
    now = [0.0]
    logins = Logins(lambda: now[0])
    cookie, code, late = logins.begin("t"), logins.code("t"), logins.code("t")
    assert (logins.token(cookie), logins.token("else"), logins.token(None)) == ("t", None, None)
    assert (logins.redeem(code), logins.redeem(code)) == ("t", None)
    now[0] = CODE_S
    assert logins.redeem(late) is None
    now[0] = LOGIN_S - 1
    assert logins.token(cookie) == "t"
    now[0] = LOGIN_S
    assert logins.token(cookie) is None
    other = logins.begin("u")
    logins.end(other)
    assert logins.token(other) is None
    first = logins.begin("first")
    for _ in range(LOGINS_MAX):
        logins.begin("more")
    assert logins.token(first) is None


@pytest.mark.parametrize("text", ["https://else.example", "//else.example", "/ui//else.example", "/ui/\\else", "", "x"])
def test_a_login_leads_to_our_pages_only(text: str) -> None:
    assert next_page(text) == "/ui/inbox"
    assert next_page("/ui/executions?state=failed") == "/ui/executions?state=failed"


def test_assets_are_small() -> None:
    own = b"".join(asset.data for name, asset in assets().items() if not name.startswith("vendor/"))
    assert len(gzip.compress(own, 9)) < 40_000
    assert sum(len(asset.data) for asset in assets().values()) < 150_000


def test_a_server_starts_without_what_only_pages_need() -> None:
    code = (
        "import sys, durable.http.serve, durable.http.server_state, durable.http.dashboard_mount\n"
        "print(sorted({'jinja2', 'markdown_it', 'durable.http.dashboard', 'durable.engine.engine'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_lane_of_thousands_of_steps_is_drawn_with_bars_that_can_be_told_apart() -> None:
    steps = [replace(STEP, id=f"a.{n}", created_at=2 * n, settled_at=2 * n + 1) for n in range(5_000)]
    wait = replace(STEP, id="a.x", kind="sleep", created_at=10_000, settled_at=20_000)
    axis = time_axis(0, 20_000, [(0, 20_000)])
    lane = whole_lane(axis, [*steps, wait], 0, 20_000)
    assert len(lane) < 600
    assert lane[-1].kind == "timer"
    assert lane[-1].width == pytest.approx(0.5, abs=0.01)
    assert {bar.kind for bar in lane[:-1]} <= {"run", "idle"}
    ends = [bar.place + bar.width for bar in lane]
    assert all(end == pytest.approx(after.place, abs=0.003) for end, after in zip(ends, lane[1:], strict=False))


def test_times_are_written_with_milliseconds() -> None:
    times = (0, 1, 999, 1_000, 1_788_220_800_123, TIME_MAX_MS)
    assert [iso(each) for each in times] == [
        "1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.001Z", "1970-01-01T00:00:00.999Z",
        "1970-01-01T00:00:01.000Z", "2026-09-01T00:00:00.123Z", None,
    ]  # fmt: skip
    assert iso(None) is None
