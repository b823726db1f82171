from __future__ import annotations

import re
from importlib.util import find_spec
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from benchmarks import connections, hostile, http, primitives
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.apps import APPS, hello, load
from benchmarks.clients.attacks import ATTACKS
from benchmarks.errors import BenchmarkError
from benchmarks.libraries import greenlet as bare
from benchmarks.libraries.operations import OPERATIONS
from benchmarks.servers import GREEN_SERVERS, OURS, SERVERS, choose, installed
from benchmarks.serving import count_errors


def ask(app, path):
    environ = {"QUERY_STRING": ""}
    setup_testing_defaults(environ)
    environ["PATH_INFO"] = path
    heads = []
    result = validator(app)(environ, lambda status, fields, exc_info=None: heads.append((status, dict(fields))))
    body = b"".join(result)
    result.close()
    [(status, fields)] = heads
    return status, fields, body


def test_command_without_a_benchmark_lists_them_with_their_questions(capsys):
    assert main([]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, module in BENCHMARKS.items():
        assert name in text
        assert module.__doc__.partition("\n\n")[0] in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["http", "--servers", "nobody"],
        ["http", "--servers", OURS.name, "--cases", "nothing"],
        ["primitives", "--libraries", "nothing"],
        ["connections", "--servers", "floor"],
        ["hostile", "--scenarios", "nothing"],
    ],
)
def test_unknown_name_is_refused_with_those_that_there_are(arguments, capsys):
    assert main(arguments) == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("module", BENCHMARKS.values(), ids=BENCHMARKS)
def test_every_benchmark_asks_one_question(module):
    assert module.__doc__.partition("\n\n")[0].count("?") == 1


@pytest.mark.parametrize("name", APPS)
def test_every_app_greets_and_keeps_to_the_standard(name):
    status, fields, body = ask(load(name), "/")
    assert (status, body) == ("200 OK", hello.BODY)
    assert fields["Content-Type"] == hello.CONTENT_TYPE
    assert fields["Content-Length"] == str(len(body))


def test_routes_sleep_by_the_servers_own_sleep_and_answer_large_bodies():
    slept = []
    app = load("routes", slept.append)
    assert ask(app, "/sleep")[2] == hello.BODY
    assert slept == [1.0]
    assert len(ask(app, "/large")[2]) == 5_000_000


def test_unknown_app_is_refused():
    with pytest.raises(ValueError, match="'nothing'"):
        load("nothing")


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_every_server_of_the_catalogue_has_its_program(server):
    assert find_spec(f"benchmarks.servers.{server.program}") is not None


def test_server_that_is_not_installed_is_left_out_or_refused_by_name():
    missing = type(OURS)("missing", "missing", ("no-such-distribution",))
    assert installed([missing, SERVERS[1]]) == [SERVERS[1]]
    with pytest.raises(BenchmarkError, match="missing"):
        choose("missing", [missing])


def test_ours_is_measured_from_the_checkout():
    assert OURS in installed()
    assert OURS in GREEN_SERVERS


@pytest.mark.parametrize(
    ("log", "errors"),
    [
        ("", 0),
        ("WARNING greenserve.wsgi: an ERROR was avoided: none\n", 0),
        ("ERROR greenserve.wsgi: accept failed\n", 1),
        ("CRITICAL greenserve.wsgi: stopping\nINFO x: y\n", 1),
        ("[2024-01-01 00:00:00 +0000] [12] [ERROR] Exception\n", 1),
        ("2024-01-01 00:00:00,000 ERROR greenserve: x\n", 1),
        ("Traceback (most recent call last):\n  File x\nValueError: ERROR\n", 1),
        ("ERROR x: failed\nTraceback (most recent call last):\n  File x\nValueError\nERROR y: z\n", 2),
        ("ERRORS: 0\n", 0),
    ],
)
def test_errors_in_a_log_are_counted_by_their_level(log, errors):
    assert count_errors(log) == errors


def test_table_of_a_case_is_sorted_by_cost_with_failures_last():
    rows = [
        http.Figures("hello", "dear", [40.0, 44.0], [20_000.0] * 2, [3.0] * 2),
        http.Figures("hello", OURS.name, [10.0, 11.0], [90_000.0] * 2, [1.0] * 2),
        http.Figures("hello", "broken", [1.0], [1.0], [1.0], failure="wrk met timeouts: 1"),
        http.Figures("hello", "idle"),
    ]
    lines = http.format_case(rows).split("\n")[2:]
    assert [line.split()[0] for line in lines] == [OURS.name, "dear", "broken"]
    assert [line.split()[-1] for line in lines] == ["1.00", "0.25", "-"]
    assert "42.0 (40.0 to 44.0)" in lines[1]


def test_table_of_primitives_compares_the_lowest_figures():
    ours = primitives.Figures(OURS.name, {"switch": [1.0, 2.0, 3.0], "import": [20.0, 30.0, 40.0]})
    other = primitives.Figures("other", {"switch": [2.0, 2.0, 9.0], "import": [60.0], "queue": [1.0]})
    lines = primitives.format_figures([ours, other]).split("\n")
    cells = {line.partition("  ")[0]: line.partition("  ")[2].split() for line in lines}
    assert cells["sleep(0), nothing else to run, µs"] == ["1.00", "(2.00)", "2.00", "0.50"]
    assert cells["import, ms"] == ["30.0", "60.0", "0.50"]
    assert cells["queue put and get, uncontended, µs"] == ["-", "1.00", "-"]


def test_bare_greenlets_do_the_operations_they_claim():
    names = {operation.name for operation in OPERATIONS}
    assert set(bare.OPERATIONS) <= names
    for do in bare.OPERATIONS.values():
        do(3)


def test_every_scenario_names_an_attack_that_exists():
    assert {scenario.attack for scenario in hostile.SCENARIOS} == {None, *ATTACKS}


def test_table_of_a_scenario_has_a_line_a_server_with_the_ratio_of_ours():
    def figures(server, p99_ms):
        return hostile.Figures(
            "quiet", server, 100, 0, p50_ms=1.0, p99_ms=p99_ms, max_ms=9.0, resident_mb=30.0, idle_cpu_percent=None,
            errors_logged=1, server_errors=0, recovery_seconds=0.01,
        )  # fmt: skip

    table = hostile.format_scenario([figures(OURS.name, 2.0), figures("other", 4.0), figures("other", 5.0)])
    headings, _, ours, other = [re.split(r"\s{2,}", line) for line in table.split("\n")]
    assert (ours[0], other[0]) == (OURS.name, "other")
    assert dict(zip(headings, ours, strict=True))["p99 ms"] == "2.00"
    assert dict(zip(headings, other, strict=True))["p99 ms"] == "4.50 (4.00 to 5.00)"
    assert dict(zip(headings, other, strict=True))["p99 greenserve ÷ it"] == "0.44"
    assert dict(zip(headings, other, strict=True))["errors logged"] == "2"


def test_table_of_connections_has_a_column_a_server():
    row = connections.Figures("ours", 8.0, 7.5, 0.1, 0.5, 1.0, 0.6, 1.5, 1.25)
    lines = connections.format_figures([row]).split("\n")
    assert lines[0].split() == ["ours"]
    assert [line.split()[-1] for line in lines[2:]] == ["8.0", "7.5", "0.1", "0.50", "1.00", "0.60", "1.50", "1.25"]
