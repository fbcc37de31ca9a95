"""Telemetry sent by OTLP over HTTP to a collector: kills, a collector that is gone or hangs (specs/telemetry.md)."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from durable.telemetry.trace_ids import attempt_span_id, trace_id_of
from tests.collector import Collector, collector
from tests.warm_python import PYTHON

ROOT = Path(__file__).resolve().parents[2]


def run_job(tmp_path: Path, url: str, *answer: str) -> subprocess.CompletedProcess[str]:
    command = [PYTHON, "-m", "tests.e2e.traced_job", str(tmp_path / "w.db"), str(tmp_path / "lives"), *answer]
    environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_SERVICE_NAME": "jobs"}
    environment |= {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def span_id(number: int) -> bytes:
    return number.to_bytes(8)


def test_a_function_killed_twice_that_waits_for_a_person_has_each_span_once(tmp_path: Path) -> None:
    with collector() as found:
        died = [run_job(tmp_path, found.url).returncode for _ in range(2)]
        assert run_job(tmp_path, found.url).returncode == 0
        ended = run_job(tmp_path, found.url, "33")
        _check_story(found)
    assert died == [-9, -9]
    assert ended.stdout == "42\n", ended.stderr


def _check_story(found: Collector) -> None:
    assert {span.trace_id for span in found.spans} == {trace_id_of("job").to_bytes(16)}
    assert len({span.span_id for span in found.spans}) == len(found.spans), "each once"
    assert sorted(span.name for span in found.spans) == [
        "download",
        "execution job",
        "execution job",
        "prompt",
        "step dies_twice",
        "step fetch",
    ]
    third, fourth = found.named("execution job")
    attempts = [span_id(attempt_span_id("job", n)) for n in (1, 2, 3, 4)]
    assert [third.span_id, fourth.span_id] == attempts[2:]
    assert [each.links[0].span_id for each in (third, fourth)] == attempts[1:3], "the killed ones' ids are known"
    (fetch,), (dies,), (prompt,) = found.named("step fetch"), found.named("step dies_twice"), found.named("prompt")
    assert [fetch.parent_span_id, dies.parent_span_id, prompt.parent_span_id] == [attempts[0], *attempts[2:3] * 2]
    assert found.named("download")[0].parent_span_id == fetch.span_id, "what a step traces by itself goes with it"
    assert found.services == {"jobs"}
    assert {"durable.steps", "durable.executions.settled", "durable.step.duration"} <= found.metrics


@pytest.mark.parametrize("hangs", [True, False], ids=["hangs", "gone"])
def test_a_collector_that_is_not_there_costs_dropped_spans_only(tmp_path: Path, hangs: bool) -> None:
    (tmp_path / "lives").write_text("xx")
    with collector() as found:
        found.goes_on.clear()
        url = found.url if hangs else "http://127.0.0.1:9"
        began = time.monotonic()
        asked = run_job(tmp_path, url)
        assert time.monotonic() - began < 30
    assert asked.returncode == 0, asked.stderr
    assert found.spans == [] or hangs
