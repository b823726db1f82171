"""Directory, path, variables and umask: entered, and entered anew when they have changed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from greenserve.config import Config, Source, load
from greenserve.errors import SettingError
from greenserve.supervisor.surroundings import DirectoryError, Surroundings
from tests.cli.running import environment
from tests.supervisor.running import APP, Master


def settings(**values: object) -> Config:
    return load(Source("here", values))


@pytest.fixture
def current(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A symbolic link to the first of two releases, which is the current directory."""
    for release in ("1", "2"):
        (tmp_path / release / "lib").mkdir(parents=True)
    link = tmp_path / "current"
    link.symlink_to("1")
    monkeypatch.chdir(link)
    monkeypatch.setenv("PWD", str(link))
    monkeypatch.setattr(sys, "path", ["elsewhere"])
    umask = os.umask(0o22)
    yield link
    os.umask(umask)


def deploy(link: Path, release: str) -> None:
    new = link.with_name("new")
    new.symlink_to(release)
    new.replace(link)


def test_the_path_begins_with_the_directory_and_then_what_pythonpath_says(current: Path, tmp_path: Path) -> None:
    Surroundings().enter(settings(pythonpath="lib,/opt/more"))
    assert sys.path == [str(tmp_path / "1"), str(tmp_path / "1" / "lib"), "/opt/more", "elsewhere"]


def test_a_link_that_leads_elsewhere_is_followed_and_nothing_of_the_old_place_stays(
    current: Path, tmp_path: Path
) -> None:
    surroundings = Surroundings()
    surroundings.enter(settings(pythonpath="lib"))
    deploy(current, "2")
    surroundings.enter(settings(pythonpath="lib"))
    assert os.getcwd() == str(tmp_path / "2")
    assert sys.path == [str(tmp_path / "2"), str(tmp_path / "2" / "lib"), "elsewhere"]


def test_chdir_is_relative_to_where_it_was_started_each_time(current: Path, tmp_path: Path) -> None:
    surroundings = Surroundings()
    for release in ("1", "2"):
        surroundings.enter(settings(chdir="lib"))
        assert os.getcwd() == str(tmp_path / release / "lib")
        if release == "1":
            deploy(current, "2")


def test_what_has_not_changed_is_not_touched(current: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook may have gone elsewhere, or set a variable, for good reasons."""
    monkeypatch.setenv("COLOUR", "before")
    surroundings = Surroundings()
    config = settings(raw_env="COLOUR=red", umask="027")
    surroundings.enter(config)
    sys.path.insert(0, "a hook's")
    os.environ["COLOUR"] = "a hook's"
    os.chdir("/")
    os.umask(0o77)
    path = list(sys.path)
    surroundings.enter(config)
    assert (os.getcwd(), sys.path, os.environ["COLOUR"], os.umask(0)) == ("/", path, "a hook's", 0o77)


def test_variables_that_are_not_set_any_more_are_what_they_were(monkeypatch: pytest.MonkeyPatch, current: Path) -> None:
    monkeypatch.setenv("COLOUR", "before")
    monkeypatch.delenv("SHAPE", raising=False)
    surroundings = Surroundings()
    surroundings.enter(settings(raw_env="COLOUR=red,SHAPE=round"))
    assert (os.environ["COLOUR"], os.environ["SHAPE"]) == ("red", "round")
    surroundings.enter(settings(raw_env="SHAPE=square"))
    assert (os.environ["COLOUR"], os.environ["SHAPE"]) == ("before", "square")
    surroundings.enter(settings())
    assert (os.environ["COLOUR"], os.environ.get("SHAPE")) == ("before", None)


def test_a_directory_that_is_not_there_is_told_with_what_named_it(current: Path) -> None:
    with pytest.raises(SettingError, match=r"^chdir = 'no' \(chdir here\): No such file or directory$"):
        Surroundings().enter(settings(chdir="no"))


def test_a_release_that_is_gone_is_told(current: Path) -> None:
    surroundings = Surroundings()
    surroundings.enter(settings())
    current.unlink()
    with pytest.raises(DirectoryError, match=r"^can't go to .*/current: No such file or directory$"):
        surroundings.enter(settings())


RELEASE = APP.replace("{os.getpid()}", "{RELEASE} {os.environ.get('COLOUR')}").replace("import os", "import os\n{0}")


def release(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    (folder / name / "shop.py").write_text(RELEASE.replace("{0}", f"RELEASE = {name!r}"))
    (folder / name / "greenserve.conf.py").write_text(f"workers = 1\nraw_env = ['COLOUR=colour-{name}']\n")


@pytest.mark.system
@pytest.mark.parametrize("how", ["started in it", "chdir"])
def test_a_reload_serves_the_release_to_which_the_link_now_leads(tmp_path: Path, how: str) -> None:
    for name in ("1", "2"):
        release(tmp_path, name)
    link = tmp_path / "current"
    link.symlink_to("1")
    env = {**environment(), "TMPDIR": str(tmp_path), "PWD": str(link if how == "started in it" else tmp_path)}
    args: tuple[str, ...] = ()
    if how == "chdir":
        args = ("--chdir", "current", "--config", "current/greenserve.conf.py")
    args += ("--bind", "127.0.0.1:0")
    master = Master(link if how == "started in it" else tmp_path, "shop:app", *args, env=env)
    try:
        assert master.get("/x") == "1 colour-1 /x"
        deploy(link, "2")
        before = master.send(signal.SIGHUP)
        master.err.wait_for("the reload is done", after=before)
        master.err.wait_for("is gone", after=before)
        assert master.get("/x") == "2 colour-2 /x"
        assert master.stop() == 0
    finally:
        master.close()
