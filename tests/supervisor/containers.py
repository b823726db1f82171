"""What the guide for containers has: its image, its pod; and a place like the inside of a container."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import Any

import pytest
import yaml

from tests.servers import require
from tests.supervisor.guides import blocks

PAGE = "run-in-a-container.md"


def dockerfile() -> str:
    (block,) = blocks(PAGE, "dockerfile")
    return block.text


def instruction(name: str) -> list[str]:
    """Return the words of the last CMD, or of the one in HEALTHCHECK."""
    found = re.findall(rf"^{name}.*?(\[.*\])$", dockerfile(), re.MULTILINE)
    words: list[str] = json.loads(found[-1])
    return words


def pod() -> dict[str, Any]:
    (block,) = blocks(PAGE, "yaml")
    found: dict[str, Any] = yaml.safe_load(block.text)["spec"]["template"]["spec"]
    return found


def container() -> dict[str, Any]:
    (found,) = pod()["containers"]
    return dict(found)


# Mounts of a name space of its own can be changed without harm to others. What is no file system of files stays.
_TAKE_RIGHTS = """
cut -d " " -f 5 /proc/self/mountinfo | grep -vE "^/(proc|sys|dev)(/|$)" | while read -r place; do
    mount -o remount,bind,ro "$place" 2>/dev/null
done
for place in . /tmp /var/tmp; do
    if [ -w "$place" ]; then
        echo "$place can still be written to" >&2
        exit 1
    fi
done
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""


def as_process_1() -> list[str]:
    """Return what a command is put behind to be process 1 of a name space.

    The test is skipped where that isn't allowed, or fails if this is CI, which has to allow it.
    """
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    unshare = require("unshare", "util-linux")
    return _tried([unshare, *user, "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"])


def as_in_a_container() -> list[str]:
    """Return what a command is put behind to be process 1, without capabilities, where no file can be written.

    The test is skipped where that isn't allowed, or fails if this is CI, which has to allow it.
    """
    require("setpriv", "util-linux")
    return _tried([*as_process_1(), "sh", "-c", _TAKE_RIGHTS, "sh"])


def _tried(prefix: list[str]) -> list[str]:
    done = subprocess.run([*prefix, "true"], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        reason = f"this needs name spaces for processes and mounts: {done.stderr.strip()}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return prefix
