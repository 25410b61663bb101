"""One served identity: its folder, its doors, its command, and those it has delegated to."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from attrs import define, field

from hoopgw.broker.doors import Door, DoorSpec, Place
from hoopgw.broker.peers import Process, owner_of
from hoopgw.client.errors import NOT_YOURS, Refused
from hoopgw.client.signers import ChildSigner
from hoopgw.client.values import Target


@define(eq=False, kw_only=True)
class Resident:
    """An identity in the broker: it is served to one command, and to what descends from that."""

    signer: ChildSigner
    folder: Path
    uid: int
    parent: Resident | None = None
    command: Process | None = None
    """None until it is known: then nobody is served."""
    children: list[Resident] = field(factory=list)
    accounts: Mapping[str, str] = field(factory=dict)
    """Target to the account that its clients use when they name none."""
    commands: Callable[[], Collection[Process]]
    """All commands that are served, of every identity: the nearest one owns a process."""
    _doors: list[Door] = field(factory=list, init=False)

    def admit(self, connection: socket.socket) -> None:
        """Refuse a connection that does not come from this identity's own processes."""
        if self.command is None or owner_of(connection, self.uid, self.commands()) != self.command:
            raise Refused(
                NOT_YOURS,
                f"this process does not act as {self.signer.terms.name}",
                hint="it has a broker of its own: HOOPGW_BROKER names it",
            )

    async def open_doors(
        self,
        specs: Mapping[str, DoorSpec],
        targets: Sequence[Target],
        *,
        file_mode: int,
    ) -> dict[str, str]:
        """Open a door for each protocol that it may use; return what its environment needs."""
        variables: dict[str, str] = {}
        for protocol, spec in specs.items():
            mine = [t for t in targets if t.protocol == protocol and t.port]
            if not mine:
                continue
            door = spec.make()
            self._doors.append(door)
            place = Place(
                folder=self.folder,
                uid=self.uid,
                signer=self.signer,
                targets=mine,
                accounts=self.accounts,
                admit=self.admit,
                file_mode=file_mode,
            )
            variables.update(await door.open(place))
        return variables

    async def close(self) -> None:
        """End it, and all below it."""
        for child in list(self.children):
            await child.close()
        for door in self._doors:
            await door.close()
        self._doors.clear()
        self.command = None
        if self.parent is not None and self in self.parent.children:
            self.parent.children.remove(self)
        shutil.rmtree(self.folder, ignore_errors=True)
