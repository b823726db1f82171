"""Which source wins, and what is said about where a value came from."""

from __future__ import annotations

import pytest

from greenserve.config import Source, load, misspelt_variables, read_environment
from greenserve.errors import SettingError
from greenserve.settings import SETTINGS


def test_without_a_source_every_setting_has_the_commands_default() -> None:
    config = load()
    for name, setting in SETTINGS.items():
        assert getattr(config, name) == setting.command_default
        assert config.origin(name) == "default"
        assert not config.is_set(name)


def test_the_library_believes_no_forwarded_fields_and_the_command_those_of_loopback() -> None:
    assert SETTINGS["forwarded_allow_ips"].default == ""
    assert load().forwarded_allow_ips == "127.0.0.1,::1"


def test_forwarded_allow_ips_is_taken_under_the_name_that_platforms_use() -> None:
    assert load(*read_environment({"FORWARDED_ALLOW_IPS": "*"})).forwarded_allow_ips == "*"


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ("x-forwarded-for, X-Forwarded-Host", ("x-forwarded-for", "x-forwarded-host")),
        (["forwarded"], ("forwarded",)),
        ("none", None),
    ],
)
def test_forwarded_fields_are_names_in_any_case(given: object, fields: object) -> None:
    assert load(Source("here", {"forwarded_fields": given})).forwarded_fields == fields


def test_of_a_proxy_client_and_scheme_are_believed_by_library_and_command_alike() -> None:
    assert SETTINGS["forwarded_fields"].default == ("x-forwarded-for", "x-forwarded-proto")
    assert load().forwarded_fields == SETTINGS["forwarded_fields"].default
    with pytest.raises(SettingError, match="forwarded_fields"):
        load(Source("here", {"forwarded_fields": "x-real-ip"}))


def test_the_first_source_that_names_a_setting_wins() -> None:
    strong = Source("on the command line", {"backlog": "5"}, {"backlog": "--backlog"})
    weak = Source("in app.conf.py", {"backlog": 6, "max_size": 7})
    config = load(strong, weak)
    assert (config.backlog, config.max_size) == (5, 7)
    assert config.origin("backlog") == "--backlog on the command line"
    assert config.origin("max_size") == "max_size in app.conf.py"


def test_a_value_that_a_stronger_source_hides_is_not_read() -> None:
    config = load(Source("here", {"bind": ["unix:x"]}), *read_environment({"PORT": "tcp://10.0.0.1"}))
    assert [str(address) for address in config.bind] == ["unix:x"]


def test_an_alias_sets_the_setting_that_it_stands_for() -> None:
    config = load(
        Source("on the command line", {"worker_connections": "9"}, {"worker_connections": "--worker-connections"})
    )
    assert config.max_size == 9
    assert config.origin("max_size") == "--worker-connections on the command line"


def test_one_source_may_not_set_a_setting_under_two_names() -> None:
    with pytest.raises(SettingError, match="keep_alive is set twice: keep_alive in x and keepalive in x"):
        load(Source("in x", {"keep_alive": 1, "keepalive": 2}))


def test_a_name_that_is_no_setting_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(SettingError, match=r"there is no setting 'blacklog' \(blacklog in x\); did you mean backlog\?"):
        load(Source("in x", {"blacklog": 1}))


def test_a_wrong_value_names_its_source() -> None:
    with pytest.raises(SettingError, match=r"^keep_alive = 'soon' \(GREENSERVE_KEEP_ALIVE in the environment\) is not"):
        load(*read_environment({"GREENSERVE_KEEP_ALIVE": "soon"}))


@pytest.mark.parametrize(
    ("environ", "bind", "origin"),
    [
        ({}, "127.0.0.1:8000", "default"),
        ({"PORT": "5000"}, "0.0.0.0:5000", "PORT in the environment"),
        ({"PORT": ""}, "127.0.0.1:8000", "default"),
        ({"PORT": "5000", "GREENSERVE_BIND": "unix:x"}, "unix:x", "GREENSERVE_BIND in the environment"),
        ({"GREENSERVE_BIND": ":1, :2"}, ":1,:2", "GREENSERVE_BIND in the environment"),
        ({"GREENSERVE_BIND": "", "PORT": "1"}, "0.0.0.0:1", "PORT in the environment"),
    ],
)
def test_the_environment_says_where_to_listen(environ: dict[str, str], bind: str, origin: str) -> None:
    config = load(*read_environment(environ))
    assert ",".join(map(str, config.bind)) == bind
    assert config.origin("bind") == origin


def test_a_port_that_is_none_is_refused_in_the_name_of_its_variable() -> None:
    with pytest.raises(SettingError, match=r"^bind = '0.0.0.0:http' \(PORT in the environment\)"):
        load(*read_environment({"PORT": "http"}))


def test_every_setting_can_come_from_the_environment() -> None:
    environ = {setting.environment_name: setting.kind.show(setting.command_default) for setting in SETTINGS.values()}
    config = load(*read_environment(environ))
    for name, setting in SETTINGS.items():
        assert setting.kind.show(getattr(config, name)) == setting.kind.show(setting.command_default)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GREENSERVE_BNID", ["GREENSERVE_BNID in the environment is not a setting; did you mean GREENSERVE_BIND?"]),
        ("GREENSERVE_BIND", []),
        ("GREENSERVE_SELECTOR", []),
        # What Kubernetes puts into every container when a service is called greenserve.
        ("GREENSERVE_SERVICE_HOST", []),
        ("GREENSERVE_PORT", []),
        ("GREENSERVE_PORT_8000_TCP_PROTO", []),
        ("BNID", []),
    ],
)
def test_a_misspelt_variable_is_told_and_a_foreign_one_is_not(name: str, expected: list[str]) -> None:
    assert misspelt_variables({name: "x"}) == expected


def test_what_is_not_a_setting_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="there is no setting 'bnid'"):
        _ = load().bnid


def test_the_printed_lines_are_python_that_gives_the_same_configuration() -> None:
    given = Source(
        "on the command line", {"bind": ["[::1]:0", "unix:/x"], "keep_alive": "1.5", "unix_socket_mode": "640"}
    )
    first = load(given)
    written: dict[str, object] = {}
    exec("\n".join(first.lines()), {}, written)
    second = load(Source("in a file", written))
    assert [line.partition("  #")[0] for line in second.lines()] == [line.partition("  #")[0] for line in first.lines()]
    assert "unix_socket_mode = 0o640  # unix_socket_mode on the command line" in list(first.lines())


def test_the_keywords_of_a_taker_are_the_settings_declared_for_it() -> None:
    config = load(Source("here", {"backlog": 5}))
    assert config.keywords_of("listen") == {"backlog": 5, "reuse_port": False}
    assert {"max_size", "keep_alive", "graceful_timeout"} <= set(config.keywords_of("server"))
