"""The text for Prometheus, read back by Prometheus's own parser, and the application that serves it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from greenserve._originals import monotonic
from greenserve.metrics.app import MetricsApp
from greenserve.metrics.board import Board, Figures, State
from greenserve.metrics.prometheus import CONTENT_TYPE, render
from greenserve.wsgi.meter import BOUNDS
from tests.wsgi.raw import get, running


def worker(state=State.READY, **gauges):
    figures = Figures()
    figures.gauges |= {"state": float(state), "published": monotonic(), **gauges}
    figures.by_status[200] = 7.0
    figures.by_status[0] = 1.0
    figures.buckets[0] = 3.0
    figures.buckets[-1] = 5.0
    figures.counters["seconds"] = 1.25
    return figures


def samples(text):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_every_figure_is_read_back():
    found = samples(render({0: worker(rss=5.0, running=2.0), 3: worker(rss=6.0, backlog=-1.0)}, {"died": 2}))
    assert found["greenserve_requests_total", "200"] == 14
    assert found["greenserve_requests_total", "none"] == 2
    assert found["greenserve_request_duration_seconds_count",] == 16
    assert found["greenserve_request_duration_seconds_sum",] == 2.5
    assert found["greenserve_request_duration_seconds_bucket", "0.0001"] == 6
    assert found["greenserve_request_duration_seconds_bucket", "60"] == 6
    assert found["greenserve_request_duration_seconds_bucket", "+Inf"] == 16
    assert found["greenserve_requests_in_flight",] == 2
    assert found["greenserve_connections", "running"] == 2
    assert found["greenserve_workers", "ready"] == 2
    assert found["greenserve_worker_restarts_total", "died"] == 2
    assert found["greenserve_worker_resident_memory_bytes", "0"] == 5
    assert found["greenserve_worker_resident_memory_bytes", "3"] == 6
    assert found["greenserve_backlog", "0"] == 0
    assert ("greenserve_backlog", "3") not in found


def test_every_family_has_its_kind_and_its_help():
    families = list(text_string_to_metric_families(render({0: worker()}, {}).decode()))
    assert all(family.documentation for family in families)
    kinds = {family.name: family.type for family in families}
    assert kinds["greenserve_requests"] == "counter"
    assert kinds["greenserve_request_duration_seconds"] == "histogram"
    assert kinds["greenserve_hub_lag_seconds"] == "gauge"
    assert "unknown" not in kinds.values()


def test_a_reason_may_hold_any_character():
    found = samples(render({}, {'a "quoted"\nand\\': 1}))
    assert found["greenserve_worker_restarts_total", 'a "quoted"\nand\\'] == 1


def test_buckets_have_all_bounds_in_their_order():
    text = render({}, {}).decode()
    bounds = [line.split('"')[1] for line in text.splitlines() if "_bucket{" in line]
    assert [float(bound) for bound in bounds[:-1]] == list(BOUNDS)
    assert bounds[-1] == "+Inf"


def ask(board, path, **keywords):
    with running(MetricsApp(board, dict), log_output=False) as run:
        return run.ask(get(path, **keywords), keywords.get("method", "GET"))


def board_with(*workers):
    board = Board(slots=4)
    for figures in workers:
        slot = board.claim()
        assert slot is not None
        slot.write(figures)
    return board


def test_metrics_are_served():
    answer = ask(board_with(worker()), "/metrics")
    assert answer.code == 200
    assert answer.fields["content-type"] == CONTENT_TYPE
    assert samples(answer.body)["greenserve_requests_total", "200"] == 7


def test_a_server_with_a_worker_that_answers_is_healthy_and_ready():
    board = board_with(worker())
    assert [ask(board, path).code for path in ("/healthz", "/readyz")] == [200, 200]


def test_a_server_whose_workers_start_or_stop_is_healthy_and_not_ready():
    for state in (State.STARTING, State.STOPPING):
        board = board_with(worker(state))
        assert [ask(board, path).code for path in ("/healthz", "/readyz")] == [200, 503]


def test_a_server_without_a_worker_is_not_ready():
    assert [ask(Board(slots=1), path).code for path in ("/healthz", "/readyz")] == [200, 503]


def test_a_server_whose_workers_are_all_stuck_is_neither():
    board = board_with(worker(published=monotonic() - 100))
    assert [ask(board, path).code for path in ("/healthz", "/readyz")] == [503, 503]
    board = board_with(worker(published=monotonic() - 100), worker())
    assert [ask(board, path).code for path in ("/healthz", "/readyz")] == [200, 200]


def test_other_paths_and_methods_are_refused():
    assert ask(Board(slots=1), "/").code == 404
    answer = ask(Board(slots=1), "/metrics", method="POST")
    assert (answer.code, answer.fields["allow"]) == (405, "GET, HEAD")
    assert ask(Board(slots=1), "/metrics", method="HEAD").code == 200
