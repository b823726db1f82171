from __future__ import annotations

import json

import pytest

from benchmarks.errors import BenchmarkError
from benchmarks.wrk import WrkRun, parse_output

FIGURES = {
    "seconds": 1.5,
    "requests": 3000,
    "p50_ms": 1.0,
    "p99_ms": 2.0,
    "max_ms": 3.0,
    "connect_errors": 0,
    "read_errors": 0,
    "write_errors": 0,
    "timeouts": 0,
    "error_statuses": 0,
}


def output(**changes):
    return f"Running 1s test @ http://127.0.0.1:1/\n  3000 requests in 1.50s\n{json.dumps({**FIGURES, **changes})}\n"


def test_last_line_of_the_output_is_the_run():
    assert parse_output(output()) == WrkRun(seconds=1.5, requests=3000, p50_ms=1.0, p99_ms=2.0, max_ms=3.0)


@pytest.mark.parametrize("kind", ["connect_errors", "read_errors", "write_errors", "timeouts", "error_statuses"])
def test_a_single_error_of_any_kind_fails_the_run(kind):
    with pytest.raises(BenchmarkError, match=f"{kind}: 1"):
        parse_output(output(**{kind: 1}))


@pytest.mark.parametrize("text", ["", "unable to connect to 127.0.0.1:1 Connection refused\n"])
def test_output_without_figures_fails_the_run_with_what_wrk_said(text):
    with pytest.raises(BenchmarkError, match=f"wrk failed: {text.strip()}"):
        parse_output(text)


def test_run_without_an_answer_fails():
    with pytest.raises(BenchmarkError, match="no answer"):
        parse_output(output(requests=0))
