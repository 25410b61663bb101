"""The folder in which `ssh` finds what it needs: beside the log-in, and of this person alone.

What is in it is made when it is needed. A certificate lasts minutes, as the token does that it is
given for; before each connection `ssh` runs a small shell script
(`hoopgw.client.ssh_texts.script_text`), and only if the certificate is about to end does that start
Python, which asks the gateway. So a connection costs a few milliseconds, nobody is logged out in
the middle of a day's work, and what an administrator takes away is gone within minutes, without a
process in the background.

One command renews at a time; the others wait for it and take what it got.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from hoopgw.cli.failure import CommandError
from hoopgw.cli.home import SSH_FOLDER, Home
from hoopgw.client.errors import Refused
from hoopgw.client.logins import read_targets
from hoopgw.client.ssh import (
    HOSTS_PATH,
    Choices,
    Issued,
    Plan,
    SshTarget,
    make_plan,
    read_hosts,
    wanted_certificate,
)
from hoopgw.client.ssh_texts import (
    ClientFiles,
    config_text,
    is_usable,
    known_hosts_text,
    script_text,
)
from hoopgw.identity.private_files import replace_private, write_private

TOKEN_LEFT: Final = 300.0
"""Seconds that the token should last: the certificate ends with it."""
_PLAN: Final = "plan.json"
_LOCK: Final = "lock"


@frozen(kw_only=True)
class Kept:
    """What is kept of the last time."""

    plan: Plan
    choices: Choices


@frozen(kw_only=True)
class Renewed:
    """A certificate that was got."""

    targets: tuple[str, ...]
    accounts: tuple[str, ...]
    expires: float
    """Seconds since the epoch, by this machine's clock."""
    serial: str


@frozen
class SshFolder:
    """The folder, and who is logged in."""

    home: Home

    @property
    def files(self) -> ClientFiles:
        """Where its files are."""
        return ClientFiles(folder=self.home.folder.absolute() / SSH_FOLDER)

    def kept(self) -> Kept | None:
        """Return what is kept of the last time; None if there is nothing that can be read."""
        try:
            values: Any = json.loads((self.files.folder / _PLAN).read_bytes())
            targets = tuple(SshTarget.from_dict(each) for each in values["targets"])
            choices = Choices(
                only=frozenset(map(str, values["only"])),
                accounts={str(k): str(v) for k, v in values["accounts"].items()},
                taken=frozenset(map(str, values["taken"])),
                login=str(values["login"]),
            )
            return Kept(plan=Plan(gateway=str(values["gateway"]), targets=targets), choices=choices)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError):
            return None  # of another release: it is made anew

    def refresh(self, choices: Choices | None = None) -> Plan:
        """Ask the gateway for its targets, and write the client's files.

        Args:
            choices: of the person; those of the last time if none are given.

        Raises:
            CommandError: nobody is logged in, or the gateway does not answer.

        """
        self._make()
        with self.home.locked(self.files.folder / _LOCK):
            return self._refresh(choices)

    def renew(self, bundle: int, *, force: bool = False) -> Renewed | None:
        """Get a new certificate for a bundle, if it is due; None if another command got it.

        Raises:
            CommandError: there is none, and the one that is there is over or about to be.

        """
        self._make()
        with self.home.locked(self.files.folder / _LOCK):
            if not force and self._is_good(bundle):
                return None
            self.home.load(TOKEN_LEFT)
            made = self._issue(self._refresh(None), bundle)
            with contextlib.suppress(OSError):  # it is there only if the script was killed
                self.files.renewing(bundle).rmdir()
            return made

    def remove(self) -> None:
        """Remove all of it."""
        if not self.files.folder.is_symlink():
            shutil.rmtree(self.files.folder, ignore_errors=True)

    def _make(self) -> None:
        folder = self.files.folder
        if self.home.broker is not None:
            raise CommandError(
                "inside `hoopgw delegate` the child's own agent signs: use `hoopgw ssh TARGET`"
            )
        if not is_usable(folder):
            raise CommandError(
                f"{folder}: OpenSSH's configuration cannot name such a path; "
                "choose another folder with --home"
            )
        self.home.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)

    def _refresh(self, choices: Choices | None) -> Plan:
        kept = self.kept()
        if choices is None:
            choices = Choices() if kept is None else kept.choices
        gateway = urlsplit(self.home.load().gateway).hostname or ""
        try:
            found = read_targets(self.home.api().get("/v1/targets"), gateway)
        except Refused as refused:
            raise CommandError(str(refused)) from refused
        plan = make_plan(found, gateway, choices, None if kept is None else kept.plan)
        if kept is None or kept.plan != plan or kept.choices != choices:
            self._write(self.files.folder / _PLAN, json.dumps(_as_dict(plan, choices)))
        command = f"{shlex.quote(sys.executable)} -P -m hoopgw.cli --home "
        command += (
            f"{shlex.quote(str(self.home.folder.absolute()))} ssh-certificate --quiet --bundle"
        )
        self._write(self.files.renew, script_text(command, shlex.quote(str(self.files.folder))))
        self._write(self.files.config, config_text(plan, self.files))
        if not self.files.known_hosts.exists():  # each certificate brings them anew
            hosts = read_hosts(self.home.api().get(HOSTS_PATH))
            self._write(self.files.known_hosts, known_hosts_text(gateway, hosts))
        return plan

    def _issue(self, plan: Plan, bundle: int) -> Renewed:
        members = plan.bundle(bundle)
        try:
            wanted = wanted_certificate(members, self._public_key(bundle))
            asked = time.time()  # by this machine's clock: the gateway's may be another
            issued = Issued.read(self.home.api().post("/v1/certificates", wanted))
        except Refused as refused:
            raise CommandError(str(refused)) from refused
        self._write(self.files.known_hosts, known_hosts_text(plan.gateway, issued.authorities))
        self._write(self.files.certificate(bundle), f"{issued.text}\n")
        soft, hard = asked + issued.soft, asked + issued.hard
        self._write(self.files.until(bundle), f"{int(soft)} {int(hard)}\n")
        return Renewed(
            targets=tuple(target.name for target in members),
            accounts=tuple(wanted["accounts"]),
            expires=asked + issued.lifetime,
            serial=issued.serial,
        )

    def _is_good(self, bundle: int) -> bool:
        try:
            soft = int(self.files.until(bundle).read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return False
        return soft > time.time() and self.files.certificate(bundle).exists()

    def _public_key(self, bundle: int) -> str:
        """Return the key's public part; the key is made the first time."""
        path = self.files.key(bundle)
        try:
            key = load_ssh_private_key(path.read_bytes(), None)
        except FileNotFoundError:
            key = Ed25519PrivateKey.generate()
            write_private(
                path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
            )
        except ValueError as error:
            raise CommandError(f"{path}: is no key that can be used: remove it") from error
        line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        self._write(path.with_name(f"{path.name}.pub"), f"{line} hoopgw\n")
        return line

    def _write(self, path: Path, text: str) -> None:
        """Put a file in place, if it is not there as it should be."""
        data = text.encode()
        try:
            if path.read_bytes() == data:
                return
        except OSError:
            pass  # it is not there, or not ours: replacing it will tell
        replace_private(path, data)


def _as_dict(plan: Plan, choices: Choices) -> dict[str, Any]:
    return {
        "gateway": plan.gateway,
        "targets": [target.as_dict() for target in plan.targets],
        "only": sorted(choices.only),
        "accounts": dict(choices.accounts),
        "taken": sorted(choices.taken),
        "login": choices.login,
    }
