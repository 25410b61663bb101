"""Run a command with a child's identity: here, with a broker of our own, or inside another's."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import attrs
from attrs import field, frozen

from hoopgw.broker.command import (
    Account,
    Paused,
    block_signals,
    hide_memory,
    is_closed_to,
    shares_terminal,
    start_paused,
    wait,
)
from hoopgw.broker.doors import DoorSpec
from hoopgw.broker.environment import scrubbed
from hoopgw.broker.folders import RuntimeFolder
from hoopgw.broker.peers import Process
from hoopgw.broker.running import STOP_PATIENCE, BrokerLoop
from hoopgw.broker.service import Broker
from hoopgw.client.errors import BAD_REQUEST, Refused
from hoopgw.client.link import BrokerLink
from hoopgw.client.messages import standing_from_dict, terms_to_dict
from hoopgw.client.signers import ChildSigner, ChildTerms, Signer, Standing
from hoopgw.open_files import allow_many_files


@frozen(kw_only=True)
class Errand:
    """What is to be run, by whom, and with what."""

    command: Sequence[str]
    terms: ChildTerms
    accounts: Mapping[str, str] = field(factory=dict)
    """Target to the account that its clients use when they name none; ``*`` for every target."""
    account: Account | None = None
    """The user to run it as."""
    keep_env: Collection[str] = ()
    clean_env: bool = False
    told: Callable[[Standing], None] = field(default=lambda _standing: None)
    """Told who the child is, before it begins."""

    def environment(self, given: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, str]:
        """Return the command's environment: what may be inherited, and the broker's."""
        kept = scrubbed(given, self.keep_env, clean=self.clean_env)
        if self.account is not None:
            kept = {name: value for name, value in kept.items() if not name.startswith("XDG_")}
            name = self.account.name
            kept |= {"HOME": self.account.home, "USER": name, "LOGNAME": name}
        return {**kept, **ours}


def run_here(
    errand: Errand,
    parent: Signer,
    login_file: Path,
    doors: Mapping[str, DoorSpec],
    ended: Callable[[ChildSigner], None],
    environ: Mapping[str, str],
) -> int:
    """Run a command with a broker in this process; return its exit status.

    Args:
        errand: what is run.
        parent: who delegates.
        login_file: where the parent's key is kept, that the child should not read.
        doors: for clients.
        ended: told each identity that is over and was used.
        environ: this process's environment.

    Raises:
        Refused: the identity cannot be made; nothing was run.

    """
    hide_memory()
    account = errand.account
    apart = account is not None and not shares_terminal()
    # Whoever has the terminal could type into it what its owner would run.
    isolated = account is not None and apart and is_closed_to(login_file, account.uid)
    signer = ChildSigner(parent, attrs.evolve(errand.terms, isolated=isolated))
    signer.chain()
    signer.targets()  # what can fail slowly does so while Ctrl-C still ends us
    folder = RuntimeFolder.make(environ, for_other=account is not None)
    try:
        block_signals()
        paused = start_paused(errand.command, account, apart=apart)
        allow_many_files()  # the command was forked: its limit stays what it was
        try:
            broker = Broker(
                folder=folder.path,
                uid=os.geteuid() if account is None else account.uid,
                doors=doors,
                ended=ended,
            )
            with BrokerLoop() as loop:
                try:
                    _serve(loop, broker, signer, errand, paused, environ)
                    return wait(paused.pid, apart=apart)
                finally:
                    loop.run(broker.close(), STOP_PATIENCE)
        finally:
            paused.give_up()
    finally:
        folder.remove()


def _serve(
    loop: BrokerLoop,
    broker: Broker,
    signer: ChildSigner,
    errand: Errand,
    paused: Paused,
    environ: Mapping[str, str],
) -> None:
    """Serve the identity, and let the command go."""
    served = loop.run(broker.serve(signer, errand.accounts))
    served.resident.command = Process.of(paused.pid)
    errand.told(signer.standing())
    paused.release(errand.environment(environ, served.environment))


def run_inside(errand: Errand, link: BrokerLink, environ: Mapping[str, str]) -> int:
    """Run a command as a child of the identity that a broker serves to us.

    The child's key stays with that broker too. It ends with this process.

    Raises:
        Refused: by the broker; nothing was run.

    """
    if errand.account is not None:
        raise Refused(BAD_REQUEST, "--user is for the first delegation, which has the broker")
    hide_memory()
    conversation = link.open()
    try:
        answer = conversation.ask(
            "serve", terms=terms_to_dict(errand.terms), accounts=dict(errand.accounts)
        )
        ours = {str(name): str(value) for name, value in answer["environment"].items()}
        block_signals()
        paused = start_paused(errand.command, None)
        try:
            conversation.ask("attach", pid=paused.pid)
            errand.told(standing_from_dict(answer["standing"]))
            paused.release(errand.environment(environ, ours))
            return wait(paused.pid)
        finally:
            paused.give_up()
    finally:
        conversation.close()
