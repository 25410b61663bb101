"""The part of the story in which Azure is asked: a mask, a refusal, and a deletion that waits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from attrs import define

from hoopgw.demo.azure_clients import AzureClient, finish
from hoopgw.demo.azure_data import DELETE_GROUP, KEYS, SHOW_SECRET, Call
from hoopgw.demo.client import Answer
from hoopgw.demo.cloud import Cloud
from hoopgw.demo.command import CommandLine
from hoopgw.demo.stage import Stage

_PATIENCE: Final = 120.0
_MASK: Final = "***"


@define(eq=False, kw_only=True)
class AzureStory:
    """One performance. Alice and bob are logged in."""

    alice: CommandLine
    bob: CommandLine
    client: AzureClient
    cloud: Cloud
    asked: Path
    """Where Azure writes what it was asked, a line each."""
    held: Callable[[], str]
    """Waits for the request that somebody's operation became, and returns its id."""
    stage: Stage

    def perform(self) -> None:
        """Play it. Raises `DemoError` if something is not as it should be."""
        self.stage.note(f"with {self.client.name}")
        self.masked_keys()
        self.refused_secret()
        self.approved_deletion()

    def masked_keys(self) -> None:
        """List the keys of a storage account."""
        answer = self._run(KEYS)
        self.stage.check(
            answer.status == 0 and answer.output.count(_MASK) == len(self.cloud.secrets.keys),
            "she sees that there are keys, and none of them",
            seen=answer.output + answer.errors,
        )
        self.stage.check(
            not any(key in answer.output + answer.errors for key in self.cloud.secrets.keys)
            and self._was_asked(KEYS),
            "though Azure gave them to the gateway",
        )

    def refused_secret(self) -> None:
        """Try to read a secret of the key vault."""
        answer = self._run(SHOW_SECRET)
        self.stage.check(
            answer.status != 0 and "by nobody else" in answer.errors,
            "refused, and told who may",
            seen=answer.output + answer.errors,
        )
        self.stage.check(not self._was_asked(SHOW_SECRET), "the vault was not even asked")

    def approved_deletion(self) -> None:
        """Delete a resource group, which waits for bob."""
        self.stage.typed("alice", self.client.typed(DELETE_GROUP))
        with self.client.start(self.alice, DELETE_GROUP) as process:
            request = self.held()
            self.stage.check(not self._was_asked(DELETE_GROUP), "Azure has not been asked yet")
            shown = self.bob.run("requests", "show", request)
            self.stage.typed("bob", f"hoopgw requests show {request}")
            self.stage.shown(shown)
            self.stage.typed("bob", f"hoopgw requests approve {request} --comment 'it is empty'")
            self.bob.run("requests", "approve", request, "--comment", "it is empty")
            answer = finish(process, _PATIENCE)
        self.stage.shown(answer.output + answer.errors)
        self.stage.check(
            answer.status == 0 and self._was_asked(DELETE_GROUP),
            "now the group is deleted",
            seen=answer.output + answer.errors,
        )
        self._recorded()

    def _recorded(self) -> None:
        """Find all of it in the recordings."""
        sessions: list[dict[str, Any]] = self.bob.json("sessions", "list")["sessions"]
        targets = {KEYS.target, SHOW_SECRET.target}
        mine = [each["id"] for each in sessions if each["target"] in targets]
        told = "\n".join(self.bob.run("sessions", "replay", each) for each in mine).lower()
        for word in ("listkeys", "/secrets/database", "held for review", "approved"):
            self.stage.check(word in told, f"the recordings show: {word}", seen=told)
        clear = (*self.cloud.secrets.keys, self.cloud.token)
        self.stage.check(
            not any(value.lower() in told for value in clear), "and neither key nor token"
        )

    def _run(self, call: Call) -> Answer:
        self.stage.typed("alice", self.client.typed(call))
        with self.client.start(self.alice, call) as process:
            answer = finish(process)
        self.stage.shown(answer.output + answer.errors)
        return answer

    def _was_asked(self, call: Call) -> bool:
        """Say whether Azure got this request; `az` may use another version of it."""
        path = call.path.partition("?")[0].rstrip("/").lower()
        lines = self.asked.read_text().lower().splitlines()
        return any(line.startswith(f"{call.method.lower()} ") and path in line for line in lines)
