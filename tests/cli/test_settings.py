"""How each kind of setting is written, and what is said about a wrong value."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenserve import _kinds, settings
from greenserve._kinds import (
    Count,
    Duration,
    Flag,
    Mode,
    Networks,
    Number,
    OrOff,
    Several,
    Size,
    Text,
    Variables,
    parse_address,
)
from greenserve.errors import SettingError
from greenserve.net import listen
from greenserve.settings import ALIASES, SETTINGS, Setting


def is_refused(read: Callable[[Any], object], value: object) -> bool:
    """Tell whether a kind's ``read`` raises what the setting makes a SettingError of."""
    try:
        read(value)
    except (TypeError, ValueError):
        return True
    return False


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        ("30s", 30.0),
        ("500ms", 0.5),
        ("5m", 300.0),
        ("2h", 7200.0),
        ("1d", 86400.0),
        ("1.5s", 1.5),
        ("0", 0.0),
        ("30 s", 30.0),
        ("0.25", 0.25),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert Duration().parse(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "s", "-1", "+1", "1_0", "1e3", "1.", ".5", "inf", "nan", "5 minutes", "5M", "1s ", "\u0663", "1m30s", "\n1"],
)
def test_a_duration_outside_the_grammar_is_refused(text: str) -> None:
    assert is_refused(Duration().parse, text)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, -0.1, True])
def test_a_number_that_is_no_duration_is_refused(value: float) -> None:
    assert is_refused(Duration().check, value)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8190", 8190),
        ("64K", 65536),
        ("64k", 65536),
        ("64KiB", 65536),
        ("16MiB", 16 << 20),
        ("16 MiB", 16 << 20),
        ("1G", 1 << 30),
        ("12B", 12),
        ("0", 0),
    ],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert Size().parse(text) == size


@pytest.mark.parametrize("text", ["", "K", "64KB", "64MB", "1.5M", "-1", "+1", "1_0", "0x10", "1T", "1 K B"])
def test_a_size_outside_the_grammar_is_refused(text: str) -> None:
    assert is_refused(Size().parse, text)


@pytest.mark.parametrize("text", ["", "0", "11", "-5", "+5", "5.0", "0_5", " 5", "\u0665"])
def test_a_count_outside_its_grammar_or_bounds_is_refused(text: str) -> None:
    assert Count(1, 10).parse("5") == 5
    assert is_refused(Count(1, 10).parse, text)


@pytest.mark.parametrize(
    ("word", "value"), [("yes", True), ("ON", True), ("1", True), ("False", False), ("off", False)]
)
def test_a_flag_is_read_in_any_case(word: str, value: bool) -> None:
    assert Flag().parse(word) is value


@pytest.mark.parametrize("text", ["660", "0660", "0o660"])
def test_a_mode_is_octal_however_it_is_marked(text: str) -> None:
    assert Mode().parse(text) == 0o660


@pytest.mark.parametrize("text", ["", "66", "888", "1777", "rw-", "-660", "0x1b"])
def test_a_mode_outside_the_grammar_is_refused(text: str) -> None:
    assert is_refused(Mode().parse, text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("127.0.0.1:8000", "127.0.0.1:8000"),
        ("localhost:0", "localhost:0"),
        ("localhost", "localhost:8000"),
        (":80", ":80"),
        ("my-host.example:65535", "my-host.example:65535"),
        ("[::1]:80", "[::1]:80"),
        ("[::]", "[::]:8000"),
        ("[fe80::1%eth0]:1", "[fe80::1%eth0]:1"),
        ("unix:/run/app.sock", "unix:/run/app.sock"),
        ("unix:///run/app.sock", "unix:/run/app.sock"),
        ("unix:app.sock", "unix:app.sock"),
        ("fd://3", "fd://3"),
    ],
)
def test_an_address_is_read(text: str, canonical: str) -> None:
    address = parse_address(text)
    assert str(address) == canonical
    assert str(parse_address(canonical)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8000",
        ":",
        "::1:80",
        "::1",
        "[::1",
        "host:",
        "host:x",
        "host:65536",
        "host:123456",
        "ho st:1",
        "unix:",
        "fd://",
        "fd://x",
        "fd://-1",
        "http://host:80",
        "host:80/",
        "unix:\0x",
        "host:+80",
        "host:\u0668\u0660",
    ],
)
def test_an_address_outside_the_grammar_is_refused(text: str) -> None:
    assert is_refused(parse_address, text)


@given(st.text(max_size=40))
def test_any_text_is_an_address_or_is_refused_and_never_anything_else(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert str(parse_address(str(address))) == str(address)


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("", ""),
        ("*", "*"),
        ("127.0.0.1,::1", "127.0.0.1,::1"),
        ("10.0.0.0/8, fe80::/10", "10.0.0.0/8,fe80::/10"),
        ("unix", "unix"),
        (["10.0.0.1", "::ffff:10.0.0.0/104"], "10.0.0.1,::ffff:10.0.0.0/104"),
        ([], ""),
    ],
)
def test_networks_are_read(given: object, value: str) -> None:
    assert Setting("allow", Networks(), "", "", group="").parse(given) == value


@pytest.mark.parametrize(
    "text",
    ["localhost", "10.0.0.0/", "1.2.3.4/321", ",", "a,b", "10.0.0.1;::1", "1.2.3", "256.0.0.1", "10.0.0.0/33", "::/129",
     "::ffff:1.2.3.4/95", "010.0.0.1", "10.0.0.0/-8", "10.0.0.0/+8", "fe80::1%eth0", "[::1]", "**"],
)  # fmt: skip
def test_networks_outside_the_grammar_are_refused(text: str) -> None:
    assert is_refused(Networks().parse, text)


@pytest.mark.parametrize("value", ["off", "none", "OFF", "0", "0s", 0, 0.0, None])
def test_no_limit_has_one_value_however_it_is_said(value: object) -> None:
    setting = Setting("grace", OrOff(Duration()), 3.0, "", group="")
    assert setting.parse(value) is None


def test_several_items_come_with_commas_or_as_a_list() -> None:
    kind = Several("NAMES", "names", str)
    assert kind.parse("a, b") == kind.check(["a", "b"]) == kind.check(("a,b",)) == ("a", "b")


@pytest.mark.parametrize(
    ("given", "variables"),
    [
        ("A=1", ("A=1",)),
        ("A=1, B_2=x", ("A=1", "B_2=x")),
        ("HOSTS=a.example,b.example,C=", ("HOSTS=a.example,b.example", "C=")),
        (["OPTIONS=a=1,b=2", "C=3"], ("OPTIONS=a=1,b=2", "C=3")),
        ([" A= b "], (" A= b ",)),
    ],
)
def test_a_variable_keeps_the_commas_of_its_value(given: object, variables: tuple[str, ...]) -> None:
    assert SETTINGS["raw_env"].parse(given) == variables


@pytest.mark.parametrize("given", ["A", "=1", "A,B=1", "A=\0", [], [1], ["A=1", "B"], {"A": "1"}, 5])
def test_what_is_no_variable_with_a_value_is_refused(given: object) -> None:
    assert is_refused(Variables().parse if isinstance(given, str) else Variables().check, given)


@pytest.mark.parametrize("value", [["none"], [], "", "none", None])
def test_nothing_can_be_said_where_several_items_may_be_given(value: object) -> None:
    assert SETTINGS["forwarded_fields"].parse(value) is None


@pytest.mark.parametrize(("value", "expected"), [(0, "0"), (1000, "1000"), ("1000", "1000"), ("www", "www")])
def test_a_user_has_a_name_or_a_number(value: object, expected: str) -> None:
    assert SETTINGS["user"].parse(value) == SETTINGS["group"].parse(value) == expected


@pytest.mark.parametrize("value", [-1, True, 1.0, "", ["www"]])
def test_what_is_no_user_is_refused(value: object) -> None:
    with pytest.raises(SettingError, match="allowed: the name or number of a user"):
        SETTINGS["user"].parse(value)


@pytest.mark.parametrize(
    ("value", "version"),
    [(True, "auto"), (False, "off"), ("true", "auto"), ("no", "off"), ("V1", "v1"), ("auto", "auto")],
)
def test_the_proxy_protocol_is_a_version_or_yes_or_no(value: object, version: str) -> None:
    assert SETTINGS["proxy_protocol"].parse(value) == version


@pytest.mark.parametrize("value", ["v3", "", 1, None])
def test_what_is_no_version_of_the_proxy_protocol_is_refused(value: object) -> None:
    with pytest.raises(SettingError, match="allowed: off, v1, v2 or auto; yes is auto"):
        SETTINGS["proxy_protocol"].parse(value)


@pytest.mark.parametrize(("value", "prefix"), [("", None), ("none", None), (None, None), ("shop", "shop")])
def test_the_names_of_figures_may_begin_with_nothing(value: object, prefix: str | None) -> None:
    assert SETTINGS["statsd_prefix"].parse(value) == prefix


@pytest.mark.parametrize("value", [[], (), [1], {"a"}, None, 5])
def test_what_is_no_list_of_texts_is_not_several_items(value: object) -> None:
    assert is_refused(Several("NAMES", "names", str).check, value)


def test_a_wrong_value_names_the_setting_its_source_and_what_is_allowed() -> None:
    with pytest.raises(SettingError) as caught:
        SETTINGS["backlog"].parse("many", "GREENSERVE_BACKLOG in the environment")
    assert str(caught.value) == (
        "backlog = 'many' (GREENSERVE_BACKLOG in the environment) is not right; allowed: a whole number, 1 to 65535"
    )


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_refuses_an_object_of_a_foreign_type(name: str) -> None:
    with pytest.raises(SettingError, match=f"^{name} = "):
        SETTINGS[name].parse(object())


@pytest.mark.parametrize("name", SETTINGS)
def test_each_default_is_read_back_from_both_of_its_spellings(name: str) -> None:
    setting = SETTINGS[name]
    for default in (setting.default, setting.command_default):
        shown = setting.kind.show(default)
        literal = ast.literal_eval(setting.kind.literal(default))
        assert setting.kind.show(setting.parse(shown)) == shown
        assert setting.kind.show(setting.parse(literal)) == shown


@given(st.floats(min_value=0, max_value=1e6, allow_nan=False))
def test_a_literal_loses_nothing_of_a_number(seconds: float) -> None:
    assert Duration().check(ast.literal_eval(Duration().literal(seconds))) == seconds


@given(st.integers(min_value=0, max_value=1 << 40))
def test_a_size_is_shown_as_it_is_read(size: int) -> None:
    assert Size().parse(Size().show(size)) == size


def test_no_name_means_two_settings() -> None:
    names = [*SETTINGS, *ALIASES]
    assert len(names) == len(set(names))
    assert all(name.isidentifier() and name == name.lower() for name in names)


def test_what_is_offered_is_used() -> None:
    """A setting that nobody reads would be a promise in the help. Held against the sources."""
    package = Path(settings.__file__).parent
    sources = {"server": [*(package / "wsgi").glob("*.py")], "listen": [package / "net" / "listeners.py"]}
    sources[None] = [package / "cli.py", *(package / "supervisor").glob("*.py"), *(package / "admin").glob("*.py")]
    for setting in SETTINGS.values():
        pattern = rf"config\.{setting.name}\b" if setting.keyword_of is None else rf"\b{setting.name}\b"
        text = "".join(path.read_text() for path in sources[setting.keyword_of])
        assert re.search(pattern, text), f"{setting.name} is read nowhere"


@pytest.mark.parametrize("name", [name for name, setting in SETTINGS.items() if setting.keyword_of == "listen"])
def test_listen_has_the_defaults_that_are_declared(name: str) -> None:
    assert inspect.signature(listen).parameters[name].default == SETTINGS[name].default


def test_every_declaration_says_what_it_is_for() -> None:
    for setting in SETTINGS.values():
        assert setting.text.endswith("."), setting.name
        assert setting.group, setting.name
        assert setting.keyword_of in {"server", "listen", None}, setting.name


@pytest.mark.parametrize("kind", [Text("X"), Number("N", "a number", 0, None), Networks(), Mode()])
def test_a_kind_says_what_is_allowed(kind: _kinds.Kind) -> None:
    assert kind.allowed
    assert kind.metavar
