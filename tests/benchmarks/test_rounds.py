from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from benchmarks import rounds
from benchmarks.errors import BenchmarkError
from benchmarks.servers import SERVERS


def test_another_server_begins_each_round(capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = SERVERS[:3]
    turns = [first, second, third, second, third, first]
    assert list(rounds.take_turns([first, second, third], 2)) == turns
    assert capsys.readouterr().err == "round 1 of 2 done\nround 2 of 2 done\n"


def test_what_is_named_is_chosen_in_the_order_of_the_names() -> None:
    rows = [argparse.Namespace(name=name) for name in ("a", "b", "c")]
    assert [row.name for row in rounds.choose_named("case", "c, a", rows)] == ["c", "a"]
    with pytest.raises(BenchmarkError, match="no case is called 'd'; there are a, b, c"):
        rounds.choose_named("case", "a,d", rows)


@pytest.mark.parametrize("failure", [BenchmarkError("it ended"), OSError("it ended")])
def test_a_failure_is_noted_stored_and_told(
    failure: Exception, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = rounds.Row("hello", "one"), rounds.Row("hello", "other")
    with rounds.noting_failure(good):
        pass
    with rounds.noting_failure(bad):
        raise failure
    options = argparse.Namespace(json=str(tmp_path / "result.json"))
    assert rounds.finish(options, "http", {"seconds": 1}, {"one": "1.0"}, [good, bad]) == 1
    assert capsys.readouterr().err == "failed: other, hello: it ended\n"
    stored = json.loads((tmp_path / "result.json").read_text())
    assert [(row["server"], row["failure"]) for row in stored["results"]] == [("one", None), ("other", "it ended")]
    assert rounds.finish(argparse.Namespace(json=None), "http", {}, {}, [good]) == 0
