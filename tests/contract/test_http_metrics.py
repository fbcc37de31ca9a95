"""`/metrics` of a served store, read by a parser of Prometheus' own library (specs/telemetry.md, M1-M7)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from durable.core.clock import now_ms
from durable.core.events import BackgroundFailed
from durable.http import metrics
from durable.http.metrics import FUNCTIONS_MAX, by_function
from durable.telemetry.prometheus_text import CONTENT_TYPE, Metric, text_of

from .opened import Clock, root
from .opened import engine as joined
from .served import TOKEN, Served, client, served


def samples(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """The samples of a page by metric and labels."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in ("gauge", "counter")
        for sample in family.samples:
            place = found.setdefault(sample.name, {})
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in place, "a sample comes once"
            place[labels] = sample.value
    return found


async def scraped(server: Served) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    async with client() as session, session.get(f"{server.url}/metrics") as response:
        assert response.status == 200
        assert response.headers["content-type"] == CONTENT_TYPE
        return samples(await response.text())


async def test_a_scrape_has_the_figures_of_the_store(tmp_path: Path) -> None:
    async with served(tmp_path / "s.db") as server:
        for name in ("a", "b"):
            await server.store.request("promise.create", root(f"exec:{name}"))
        server.site.observe(BackgroundFailed("sweeping", "no space"))
        found = await scraped(server)
    assert sum(found["durable_executions"].values()) == 2
    assert {dict(labels)["state"] for labels in found["durable_executions"]} == {"pending"}
    assert found["durable_queue_depth"] == {(): 2}
    assert found["durable_prompts_open"] == {(): 0}
    assert found["durable_events_total"] == {(("event", "BackgroundFailed"),): 1}
    assert found["durable_store_bytes"][()] > 0
    assert 0 < found["durable_store_latency_seconds"][()] < 5


async def queued(server: Served, name: str) -> None:
    """Put an execution into a queue that lets none begin."""
    await server.store.request("queue.declare", {"queue": name, "limits": {"concurrency": 1}})
    await server.store.request("queue.turn", {"queue": name, "event": "pause"})
    made = root(f"exec:{name}", function="app.py::job@1", durable_queue=name)
    await server.store.request("queue.enqueue", {"queue": name, "promise": made})


async def test_each_queue_has_its_depth_and_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "QUEUES_MAX", 1)
    async with served(tmp_path / "s.db", clock=Clock(now_ms() - 5_000)) as server:
        for name in ("a", "b", "c"):
            await queued(server, name)
        found = await scraped(server)
    counts = {(of["queue"], of["state"]): count for of, count in queue_samples(found, "executions")}
    assert counts["a", "waiting"] == 1
    assert counts["other", "waiting"] == 2
    assert (counts["a", "running"], counts["other", "delayed"]) == (0, 0)
    assert [of["queue"] for of, age in queue_samples(found, "oldest_seconds") if age >= 5] == ["a", "other"]
    assert [count for _, count in queue_samples(found, "started_total")] == [0, 0]


def queue_samples(
    found: dict[str, dict[tuple[tuple[str, str], ...], float]], name: str
) -> list[tuple[dict[str, str], float]]:
    """The samples of a metric of queues, by their labels."""
    return [(dict(labels), value) for labels, value in found[f"durable_queue_{name}"].items()]


async def test_an_engine_counts_by_whether_it_lives(tmp_path: Path) -> None:
    async with served(tmp_path / "s.db") as server:
        await joined(server.store, "e1")
        found = await scraped(server)
    assert sum(found["durable_engines"].values()) == 1


async def test_metrics_need_the_token(tmp_path: Path) -> None:
    async with served(tmp_path / "s.db") as server, client() as session:
        headers = {"Authorization": "Bearer no"}
        async with session.get(f"{server.url}/metrics", headers=headers) as response:
            assert response.status == 401
            assert TOKEN not in await response.text()
        found = await scraped(server)
    assert found["durable_http_responses_total"] == {(("status", "401"),): 1}


async def test_many_scrapes_cost_one_look_at_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    async with served(tmp_path / "s.db") as server:
        figures = server.store.reads.figures

        async def counted(*, now: int) -> object:
            looks.append(now)
            return await figures(now=now)

        monkeypatch.setattr(server.store.reads, "figures", counted)
        pages = [await server.site.metrics.page() for _ in range(5)]
    assert len(looks) == 1
    assert len({page.split("durable_uptime", 1)[0] for page in pages}) == 1


def test_hostile_labels_are_escaped() -> None:
    odd = 'a"b\\c\nd\ud800'
    text = text_of([Metric("m", "gauge", "Two\nlines \\ of it.").add(1.5, name=odd), Metric("none", "gauge", "-")])
    assert samples(text) == {"m": {(("name", 'a"b\\c\nd?'),): 1.5}}


def test_functions_without_end_are_counted_as_other() -> None:
    functions = [
        (f"app.py::f{n}@{version}", "completed", n) for n in range(1, FUNCTIONS_MAX + 51) for version in (1, 2)
    ]
    counted = by_function(tuple(functions))
    assert len(counted) == FUNCTIONS_MAX + 1
    assert counted["other", "completed"] == 2 * sum(range(1, 51))
    assert counted["app.py::f60", "completed"] == 120
    assert sum(counted.values()) == sum(count for _, _, count in functions)


@pytest.mark.parametrize("page", ["grafana-dashboard.json", "telemetry.md"])
async def test_alerts_and_panels_are_about_metrics_that_are_there(tmp_path: Path, page: str) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / page).read_text()
    named = set(re.findall(r"\bdurable_[a-z_]+", text))
    if page.endswith(".json"):
        panels = json.loads(text)["panels"]
        assert all(target["expr"] for panel in panels for target in panel["targets"])
        assert len({panel["title"] for panel in panels}) == len(panels) == len({panel["id"] for panel in panels})
    async with served(tmp_path / "s.db") as server:
        await queued(server, "a")
        server.site.observe(BackgroundFailed("sweeping", "no space"))
        await scraped(server)
        found = await scraped(server)
    assert len(named) > 5
    assert named <= found.keys()
