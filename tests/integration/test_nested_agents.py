"""The nested-agent story: person > planner > migrator > client, with real programs all the way.

Each protocol adds its client to `CLIENTS`: what is told of it in the demonstration must hold here.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hoopgw.demo.command import CommandLine
from hoopgw.demo.nested import NestedStory, PsqlClient, StoryClient
from hoopgw.demo.stage import Stage
from tests.support.delegating import Person
from tests.support.gateway import PSQL_15, WRITER, GatewayRig
from tests.support.processes import python_environment


def psql(target: str) -> Callable[[GatewayRig], StoryClient]:
    """Return what makes psql 15 on a target."""
    return lambda _rig: PsqlClient(
        program=Path(PSQL_15),
        target=target,
        account=WRITER,
        select="SELECT id, name FROM customers ORDER BY id",
        write="INSERT INTO notes (note) VALUES ('by the migrator')",
    )


CLIENTS = {"psql to 15": psql("pg15"), "psql to 18": psql("pg18")}


@pytest.mark.parametrize("make", CLIENTS.values(), ids=CLIENTS.keys())
def test_the_story(rig: GatewayRig, make: Callable[[GatewayRig], StoryClient]) -> None:
    """It works, it may not do more than its parent, and ends with it within two seconds."""
    shown = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="hg-alice-") as home:
        Person.log_in(rig, Path(home))
        alice = CommandLine(
            home=Path(home),
            gateway=rig.settings.control.url,
            ca=rig.ca,
            more=python_environment(),
        )
        stage = Stage(Console(file=shown, width=200))
        NestedStory(alice, make(rig), stage, lambda: sessions(rig)).perform()
        assert stage.checked == 4, shown.getvalue()


def sessions(rig: GatewayRig) -> list[dict[str, Any]]:
    """List all sessions."""
    found: list[dict[str, Any]] = rig.api("GET", "/v1/sessions?limit=200")["sessions"]
    return found
