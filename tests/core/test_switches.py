"""A green thread's own setting of what its OS thread has only one of."""

from __future__ import annotations

from typing import Any

import pytest

from greenserve.core import Hub, Timeout, get_hub, sleep, spawn
from greenserve.core.switches import OwnSwitch


class Setting:
    """Stands for a fact of the OS thread."""

    def __init__(self) -> None:
        self.value: str | None = None


class SettingSwitch(OwnSwitch):
    __slots__ = ("_setting",)

    def __init__(self, hub: Hub, setting: Setting) -> None:
        super().__init__(hub)
        self._setting = setting

    def take_away(self) -> Any:
        taken, self._setting.value = self._setting.value, None
        return taken

    def put_back(self, taken: Any) -> None:
        self._setting.value = taken


def set_here(setting: Setting, value: str) -> None:
    hub = get_hub()
    setting.value = value
    hub.switch = SettingSwitch(hub, setting)


def test_each_green_thread_sees_its_own_setting_and_others_see_none(hub: Hub) -> None:
    setting = Setting()

    def run(value: str) -> list[str | None]:
        seen = []
        set_here(setting, value)
        for _ in range(3):
            sleep(0)
            seen.append(setting.value)
            sleep(0.001)
            seen.append(setting.value)
        setting.value = None
        return seen

    def look() -> set[str | None]:
        seen = set()
        for _ in range(10):
            sleep(0)
            seen.add(setting.value)
        return seen

    one, other, nobody = spawn(run, "one"), spawn(run, "other"), spawn(look)
    assert one.wait() == ["one"] * 6
    assert other.wait() == ["other"] * 6
    assert nobody.wait() == {None}
    assert setting.value is None
    sleep(0)  # it has to park once to be noticed
    assert hub.switch == hub.greenlet.switch


def test_the_place_is_given_up_at_the_first_switch_with_nothing_set(hub: Hub) -> None:
    setting = Setting()
    set_here(setting, "mine")
    sleep(0)
    assert isinstance(hub.switch, SettingSwitch)
    setting.value = None
    assert isinstance(hub.switch, SettingSwitch)
    sleep(0)
    assert hub.switch == hub.greenlet.switch


def test_what_is_thrown_into_a_wait_finds_the_setting_back(hub: Hub) -> None:
    setting = Setting()
    set_here(setting, "mine")
    with pytest.raises(Timeout), Timeout(0.001):
        sleep(10)
    assert setting.value == "mine"
    setting.value = None
    sleep(0)


def test_one_in_the_place_of_another_parks_by_the_hubs_own_switch(hub: Hub) -> None:
    setting = Setting()
    plain = hub.switch
    set_here(setting, "first")
    set_here(setting, "second")
    switch = hub.switch
    assert isinstance(switch, SettingSwitch)
    assert switch.plain == plain
    sleep(0)
    assert setting.value == "second"
    setting.value = None
    sleep(0)
    assert hub.switch == plain
