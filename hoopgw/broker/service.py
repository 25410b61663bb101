"""The broker's service: identities in folders, each with a socket for what its processes ask.

=============  =========================  =======================================================
``op``         given                      answered
=============  =========================  =======================================================
``standing``                              who this is, until when, narrowed to what
``targets``                               what it may reach
``prove``      ``audience``               the chain with a proof: good once, for two minutes
``mint``       ``jwk``, ``terms``         the chain with a hop to a key of the caller's
``serve``      ``terms``, ``accounts``    a child whose key is here: its folder and environment.
                                          It ends with the connection.
``attach``     ``pid``                    after ``serve``: the process that the child's tree is
                                          below
=============  =========================  =======================================================

Runs on an asyncio loop of its own; signing and asking the gateway happen in threads. No answer
holds a key or a log-in's token, and nothing is written to a log.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
from attrs import define, field, frozen

from hoopgw.broker.doors import DoorSpec
from hoopgw.broker.folders import BACKLOG, listen_at, make_inner
from hoopgw.broker.peers import Process, is_below, peer_of
from hoopgw.broker.residents import Resident
from hoopgw.client.errors import BAD_REQUEST, NOT_YOURS, SLOW_DOWN, TOO_DEEP, Refused
from hoopgw.client.messages import (
    LINE_LIMIT,
    VERSION,
    decode,
    encode,
    standing_to_dict,
    terms_from_dict,
)
from hoopgw.client.signers import ChildSigner, ChildTerms
from hoopgw.client.values import Target
from hoopgw.identity.rate import RateLimit

SOCKET: Final = "broker.sock"
CONNECTIONS_LIMIT: Final = 32
"""Conversations with one identity at once."""
CHILDREN_LIMIT: Final = 16
"""Live children of one identity."""
RESIDENTS_LIMIT: Final = 64
"""Identities of one broker."""
IDLE_LIMIT: Final = 60.0
"""Seconds between two requests of a conversation that holds no child."""
_BURST: Final = 200.0
_PER_SECOND: Final = 50.0
"""Requests of one identity."""
_ACCOUNTS_LIMIT: Final = 64


@frozen(kw_only=True)
class Served:
    """What a command needs to use its identity."""

    resident: Resident
    environment: Mapping[str, str]


@define(eq=False, kw_only=True)
class Broker:
    """Serves identities until it is closed.

    Args:
        folder: private; every identity gets a folder in it.
        uid: whose processes are served.
        doors: of all protocols.
        ended: told each signer that is over and was used.
        now: seconds since the epoch.

    """

    folder: Path
    uid: int
    doors: Mapping[str, DoorSpec]
    ended: Callable[[ChildSigner], None]
    now: Callable[[], float] = time.time
    _residents: list[Resident] = field(factory=list, init=False)
    _servers: dict[int, asyncio.Server] = field(factory=dict, init=False)
    _conversations: dict[int, set[asyncio.Task[None]]] = field(factory=dict, init=False)
    _rate: RateLimit = field(
        factory=lambda: RateLimit(burst=_BURST, per_second=_PER_SECOND), init=False
    )
    _made: int = field(default=0, init=False)

    async def serve(
        self,
        signer: ChildSigner,
        accounts: Mapping[str, str],
        parent: Resident | None = None,
    ) -> Served:
        """Serve an identity; its command is attached later.

        Raises:
            Refused: it cannot be, by its parent's chain.

        """
        if len(self._residents) >= RESIDENTS_LIMIT:
            raise Refused(SLOW_DOWN, f"this broker serves {RESIDENTS_LIMIT} identities already")
        await asyncio.to_thread(signer.chain)
        targets = await asyncio.to_thread(signer.targets)
        self._made += 1
        for_other = self.uid != os.geteuid()
        resident = Resident(
            signer=signer,
            folder=make_inner(self.folder, str(self._made), for_other=for_other),
            uid=self.uid,
            parent=parent,
            # What its parent's clients use, unless it says otherwise.
            accounts={**(parent.accounts if parent is not None else {}), **accounts},
            commands=self._commands,
        )
        self._residents.append(resident)
        if parent is not None:
            parent.children.append(resident)
        try:
            variables = await self._open(resident, targets, for_other=for_other)
        except BaseException:
            await self.end(resident)
            raise
        return Served(resident=resident, environment=variables)

    async def end(self, resident: Resident) -> None:
        """Stop serving an identity, and all below it; they are told to ``ended`` if used."""
        for child in list(resident.children):
            await self.end(child)
        if resident not in self._residents:
            return
        self._residents.remove(resident)
        server = self._servers.pop(id(resident), None)
        if server is not None:
            server.close()
        tasks = self._conversations.pop(id(resident), set()) - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await resident.close()
        if resident.signer.was_used:
            await asyncio.to_thread(self.ended, resident.signer)

    async def close(self) -> None:
        """Stop serving."""
        for resident in [r for r in self._residents if r.parent is None]:
            await self.end(resident)

    def _commands(self) -> Sequence[Process]:
        return [r.command for r in self._residents if r.command is not None]

    async def _open(
        self,
        resident: Resident,
        targets: Sequence[Target],
        *,
        for_other: bool,
    ) -> dict[str, str]:
        path = resident.folder / SOCKET
        tasks = self._conversations.setdefault(id(resident), set())

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(tasks) >= CONNECTIONS_LIMIT:
                writer.write(encode(_too_many().as_dict()))
                writer.close()
                return
            task = asyncio.get_running_loop().create_task(self._talk(resident, reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        self._servers[id(resident)] = await asyncio.start_unix_server(
            connected, sock=listen_at(path, self.uid), limit=LINE_LIMIT, backlog=BACKLOG
        )
        variables = await resident.open_doors(
            self.doors, targets, file_mode=0o644 if for_other else 0o600
        )
        return {
            **variables,
            "HOOPGW_BROKER": str(path),
            # The parent's log-in is not the child's, and there is none in here.
            "HOOPGW_HOME": str(resident.folder / "no-log-in"),
        }

    async def _talk(
        self, resident: Resident, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Hold one conversation."""
        conversation = _Conversation(self, resident, writer.get_extra_info("socket"))
        try:
            while True:
                async with asyncio.timeout(None if conversation.child else IDLE_LIMIT):
                    line = await reader.readline()
                if not line:
                    break
                answer = await self._answered(conversation, line)
                writer.write(encode(answer))
                await writer.drain()
        except (TimeoutError, OSError, ValueError):
            return  # it has gone, is silent, or sends lines without an end: nobody is left to tell
        finally:
            writer.close()
            if conversation.child is not None:
                await self.end(conversation.child)

    async def _answered(self, conversation: _Conversation, line: bytes) -> dict[str, Any]:
        try:
            conversation.resident.admit(conversation.connection)
            key = str(id(conversation.resident))
            if not self._rate.charge(key, 1.0, time.monotonic()):
                raise _too_many()
            return {"ok": await conversation.answer(decode(line))}
        except Refused as refused:
            return refused.as_dict()


@define(eq=False)
class _Conversation:
    """What one connection asks."""

    _broker: Broker
    resident: Resident
    connection: socket.socket
    child: Resident | None = field(default=None, init=False)
    """Served for as long as the connection is there."""

    async def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one request. Raises `Refused`."""
        signer = self.resident.signer
        match request.get("op"):
            case "standing":
                standing = await asyncio.to_thread(signer.standing)
                return {"version": VERSION, **standing_to_dict(standing)}
            case "targets":
                targets = await asyncio.to_thread(signer.targets)
                return {"targets": [target.as_dict() for target in targets]}
            case "prove":
                audience = _text(request, "audience")
                token = await asyncio.to_thread(signer.prove, audience)
                return {"token": token.value, "expires": token.expires}
            case "mint":
                return await self._mint(request)
            case "serve":
                return await self._serve(request)
            case "attach":
                return self._attach(request)
        raise Refused(BAD_REQUEST, "no such request")

    async def _mint(self, request: Mapping[str, Any]) -> dict[str, Any]:
        jwk, terms = request.get("jwk"), terms_from_dict(request.get("terms"))
        if not isinstance(jwk, dict):
            raise Refused(BAD_REQUEST, "jwk is no key")
        minted = await asyncio.to_thread(self.resident.signer.mint, jwk, _by_its_word(terms))
        return {
            "chain": minted.chain,
            "until": minted.until,
            "standing": standing_to_dict(minted.standing),
        }

    async def _serve(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self.child is not None:
            raise Refused(BAD_REQUEST, "this connection has a child already")
        if len(self.resident.children) >= CHILDREN_LIMIT:
            raise Refused(TOO_DEEP, f"there are {CHILDREN_LIMIT} live children already")
        accounts = request.get("accounts")
        if not isinstance(accounts, dict) or len(accounts) > _ACCOUNTS_LIMIT:
            raise Refused(BAD_REQUEST, "accounts are no table")
        if not all(isinstance(text, str) and text.isprintable() for text in accounts.values()):
            raise Refused(BAD_REQUEST, "an account is no name")
        signer = ChildSigner(
            self.resident.signer,
            _by_its_word(terms_from_dict(request.get("terms"))),
            now=self._broker.now,
        )
        served = await self._broker.serve(signer, accounts, self.resident)
        self.child = served.resident
        return {
            "environment": dict(served.environment),
            "standing": standing_to_dict(signer.standing()),
        }

    def _attach(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Say which process the child's are below: one that the asking process has started."""
        pid = request.get("pid")
        if self.child is None or self.child.command is not None or type(pid) is not int:
            raise Refused(BAD_REQUEST, "nothing is to be attached")
        asking = Process.of(peer_of(self.connection).pid)
        command = Process.of(pid)
        if asking is None or command is None or not is_below(pid, asking) or command == asking:
            raise Refused(NOT_YOURS, "that is not a process that this one has started")
        self.child.command = command
        return {}


def _text(request: Mapping[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 512:
        raise Refused(BAD_REQUEST, f"{name} is no text")
    return value


def _by_its_word(terms: ChildTerms) -> ChildTerms:
    """Take terms from a process: it runs as its child's user, so it cannot say they are apart."""
    return attrs.evolve(terms, isolated=False)


def _too_many() -> Refused:
    return Refused(SLOW_DOWN, "too many requests at once", hint="try again in a second")
