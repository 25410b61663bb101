"""The commands that set `ssh` up, against a real control process over TLS."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from attrs import evolve
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from hoopgw import config
from hoopgw.cli.home import Home
from hoopgw.cli.ssh_include import OwnConfig, difference, with_line, without_line
from hoopgw.cli.ssh_run import _destination
from hoopgw.client.ssh_texts import ClientFiles
from hoopgw.events import Principal
from hoopgw.spi import TargetSettings
from tests.cli.support import Run, run
from tests.cli.test_gateway import CommandCase
from tests.control.gateway_case import ALICE, GatewayCase
from tests.support.processes import python_environment

ACCOUNTS = {"web1": {"deploy": "", "boss": ""}, "web2": {"app": ""}}


class SshCase(CommandCase):
    """A gateway with two SSH targets, whose accounts an agent has told."""

    toml = GatewayCase.toml
    accounts: Mapping[str, Mapping[str, str]] = ACCOUNTS

    def setUp(self) -> None:
        super().setUp()
        self.user = self.folder / "user"
        self.user.mkdir()
        self.told = False

    def configured(self) -> config.GatewayConfig:
        """Add SSH, whether its protocol is installed or not: control needs no more of it."""
        found = super().configured()
        listener = evolve(
            found.listeners[0],
            protocol="ssh",
            listen=config.Address("0.0.0.0", 2222),  # noqa: S104
        )
        targets = [TargetSettings(name=name, protocol="ssh", agent="local") for name in ACCOUNTS]
        return evolve(
            found,
            listeners=(*found.listeners, listener),
            targets=(*found.targets, *targets),
        )

    async def tell(self) -> None:
        """Let a worker say which accounts the agent has."""
        peer = await self.peer()
        await peer.call("hello", worker="worker1")
        agent = {"name": "local", "connected": True, "accounts": dict(self.accounts)}
        peer.tell("agent_status", agents=[agent])
        await peer.call("ping")  # answered behind what was told
        self.told = True

    async def ssh(self, who: Principal | Path, *arguments: str | Path, text: str = "") -> Run:
        """Run a command, with a home folder of its own."""
        if not self.told:
            await self.tell()
        folder = who if isinstance(who, Path) else self.home(who)
        env = {"COLUMNS": "200", "HOME": str(self.user)}
        result: Run = await deferToThread(run, "--home", folder, *arguments, text=text, env=env)
        return result

    def files(self, home: Path) -> ClientFiles:
        """Return where `ssh` finds what it needs."""
        return ClientFiles(folder=home / "ssh")

    def certificate(self, home: Path) -> SSHCertificate:
        """Return the certificate of the first bundle."""
        found = load_ssh_public_identity(self.files(home).certificate(1).read_bytes())
        assert isinstance(found, SSHCertificate)
        return found


class CertificateTests(SshCase):
    """``hoopgw ssh-certificate``."""

    async def test_got_and_kept(self) -> None:
        """For all targets and accounts, with a key that stays; the CA of hosts beside it."""
        home = self.home(ALICE)
        got = await self.ssh(home, "ssh-certificate", "web1", "--json")
        self.assertEqual(got.status, 0, got.errors)
        (told,) = got.json["certificates"]
        self.assertEqual(told["targets"], ["web1", "web2"])
        self.assertEqual(told["accounts"], ["app", "boss", "deploy"])
        found = self.certificate(home)
        self.assertEqual(sorted(found.valid_principals), [b"app", b"boss", b"deploy"])
        self.assertIn(b"permit-pty", found.extensions)
        self.assertNotIn(b"permit-user-rc", found.extensions)
        files = self.files(home)
        self.assertRegex(
            files.known_hosts.read_text(), r"^@cert-authority 127\.0\.0\.1 ssh-ed25519 "
        )
        for path in (files.key(1), files.folder):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode) & 0o077, 0, path)
        key = files.key(1).read_bytes()
        again = await self.ssh(home, "ssh-certificate")
        self.assertIn("good for some minutes more", again.output)
        forced = await self.ssh(home, "ssh-certificate", "--force", "--quiet")
        self.assertEqual((forced.status, forced.output), (0, ""))
        self.assertEqual(files.key(1).read_bytes(), key)
        self.assertNotEqual(self.certificate(home).serial, found.serial)

    async def test_the_real_client_takes_it(self) -> None:
        """And runs the renewal by itself; the key is one that it does not complain of."""
        home = self.home(ALICE)
        await self.ssh(home, "ssh-config")
        files = self.files(home)
        status, said = await self.run_program("ssh", "-G", "-F", files.config, "web2", "true")
        self.assertEqual(status, 0, said)
        self.assertIn(f"certificatefile {files.certificate(1)}", said)
        self.assertTrue(files.certificate(1).exists())
        status, said = await self.run_program("ssh-keygen", "-L", "-f", files.certificate(1))
        self.assertEqual(status, 0, said)
        self.assertIn("deploy", said)

    async def run_program(self, *words: str | Path) -> tuple[int, str]:
        """Run a program; return its status and all that it said."""
        done = await deferToThread(
            subprocess.run,
            [*map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **python_environment(), "HOME": str(self.user)},
        )
        return done.returncode, done.stdout

    async def test_several_at_once(self) -> None:
        """One asks the gateway; the others take what it got."""
        home = self.home(ALICE)
        await self.tell()
        hoopgw = sys.executable, "-m", "hoopgw.cli", "--home", home
        runs = await gatherResults(
            [
                ensureDeferred(self.run_program(*hoopgw, "ssh-certificate", "--bundle", "1"))
                for _ in range(3)
            ]
        )
        self.assertEqual([status for status, _ in runs], [0] * 3, runs)
        self.assertEqual(sum("good until" in said for _, said in runs), 1, runs)

    async def test_without_a_log_in(self) -> None:
        """What to type is said, and nothing else."""
        result = await self.ssh(
            self.folder / "nobody", "ssh-certificate", "--quiet", "--bundle", "1"
        )
        self.assertEqual((result.status, result.output), (3, ""))
        self.assertEqual(result.errors, "hoopgw: you are not logged in: run `hoopgw login`\n")

    async def test_the_client_without_a_log_in(self) -> None:
        """Says it too, also in quiet mode."""
        home = self.home(ALICE)
        await self.ssh(home, "ssh-config")
        Home(folder=home).forget()
        config = self.files(home).config
        status, said = await self.run_program("ssh", "-q", "-G", "-F", config, "web2", "true")
        self.assertEqual(status, 0)
        self.assertIn("hoopgw: you are not logged in: run `hoopgw login`", said)
        self.assertNotIn("certificatefile", said)

    async def test_what_a_new_log_in_does(self) -> None:
        """The certificates of the one before are not used any more."""
        home = self.home(ALICE)
        await self.ssh(home, "ssh-certificate")
        Home(folder=home).drop_certificates()
        self.assertFalse(self.files(home).certificate(1).exists())
        got = await self.ssh(home, "ssh-certificate", "--bundle", "1")
        self.assertIn("good until", got.output)

    async def test_unknown(self) -> None:
        """What there is is said."""
        got = await self.ssh(ALICE, "ssh-certificate", "orders")
        self.assertEqual(got.status, 1)
        self.assertIn("these are: web1, web2", got.errors)


class AwayTests(SshCase):
    """An agent that has told no accounts."""

    accounts: Mapping[str, Mapping[str, str]] = MappingProxyType({})

    async def test_accounts_that_are_not_known(self) -> None:
        """Are asked for, once."""
        home = self.home(ALICE)
        got = await self.ssh(home, "ssh-certificate")
        self.assertEqual(got.status, 1)
        self.assertIn("--account web1=ACCOUNT", got.errors)
        said = await self.ssh(home, "ssh-config", "--account", "web1=deploy")
        self.assertEqual(said.status, 0, said.errors)
        got = await self.ssh(home, "ssh-certificate")
        self.assertEqual(got.status, 0, got.errors)
        self.assertEqual(self.certificate(home).valid_principals, [b"deploy"])


class ConfigTests(SshCase):
    """``hoopgw ssh-config``."""

    async def test_printed(self) -> None:
        """And nothing of the person's own is touched."""
        said = await self.ssh(ALICE, "ssh-config", "--account", "web1=deploy")
        self.assertEqual(said.status, 0, said.errors)
        self.assertIn("Host web1 deploy+web1\n    HostName 127.0.0.1\n    Port 2222\n", said.output)
        self.assertIn("User boss+web1\n", said.output)
        self.assertEqual(list(self.user.iterdir()), [])
        self.assertFalse(self.files(self.home(ALICE)).certificate(1).exists())

    async def test_json(self) -> None:
        """For programs."""
        said = await self.ssh(ALICE, "ssh-config", "web2", "--json")
        (told,) = said.json["targets"]
        self.assertEqual((told["name"], told["usual"], told["port"]), ("web2", "app", 2222))

    async def test_installed_and_removed(self) -> None:
        """The difference is shown, it is asked, and nothing else is changed."""
        home, own = self.home(ALICE), self.user / ".ssh" / "config"
        own.parent.mkdir()
        own.write_text("Host web1\n\tHostName own.example\n# é")
        own.chmod(0o640)
        no = await self.ssh(home, "ssh-config", "--install", text="n\n")
        self.assertEqual((no.status, own.read_text()[:9]), (1, "Host web1"))
        self.assertIn(f"+Include {self.files(home).config}", no.errors)
        for _ in range(2):
            yes = await self.ssh(home, "ssh-config", "--install", "--account", "deploy", text="y\n")
            self.assertEqual(yes.status, 0, yes.errors)
        self.assertIn("web1 is called hoopgw-web1", yes.output)
        self.assertEqual(own.read_text().count("Include"), 1)
        self.assertTrue(own.read_text().endswith("\n\nHost web1\n\tHostName own.example\n# é"))
        self.assertEqual(stat.S_IMODE(own.stat().st_mode), 0o640)
        gone = await self.ssh(home, "ssh-config", "--remove", "--yes")
        self.assertEqual(gone.output, "removed\n")
        self.assertEqual(own.read_text(), "Host web1\n\tHostName own.example\n# é")
        self.assertFalse(self.files(home).folder.exists())
        again = await self.ssh(home, "ssh-config", "--remove", "--yes")
        self.assertIn("did not include it", again.output)

    async def test_what_can_be_typed(self) -> None:
        """For completion: from what is kept, without the gateway."""
        home = self.home(ALICE)
        said = await self.ssh(home, "ssh-config", "--targets")
        self.assertEqual(said.output.split(), ["app+web2", "boss+web1", "deploy+web1", "web2"])
        Home(folder=home).forget()
        again = await self.ssh(home, "ssh-config", "--targets")
        self.assertEqual(again.output, said.output)

    async def test_for_a_job(self) -> None:
        """Git, rsync and Ansible take it from variables."""
        said = await self.ssh(ALICE, "ssh-config", "--env", "--json")
        config = self.files(self.home(ALICE)).config
        self.assertEqual(said.json["GIT_SSH_COMMAND"], f"ssh -F {config}")
        self.assertEqual(said.json["ANSIBLE_SSH_COMMON_ARGS"], f"-F {config}")

    async def test_targets_and_tokens_say_how(self) -> None:
        """To connect to an SSH target."""
        listed = await self.ssh(ALICE, "targets")
        self.assertIn("then ssh web1", listed.output)
        refused = await self.ssh(ALICE, "token", "web1")
        self.assertEqual(refused.status, 1)
        self.assertIn("`hoopgw ssh web1`", refused.errors)

    async def test_unknown(self) -> None:
        """Is told."""
        self.assertEqual((await self.ssh(ALICE, "ssh-config", "orders")).status, 1)
        self.assertEqual((await self.ssh(ALICE, "ssh-config", "--account", "=x")).status, 2)
        self.assertEqual((await self.ssh(ALICE, "ssh-config", "--env", "--remove")).status, 2)


class RunTests(SshCase):
    """``hoopgw ssh``."""

    async def test_it_runs_ssh(self) -> None:
        """With the configuration, and the name that it knows; boss@web1 is one."""
        await self.tell()
        home, there = self.home(ALICE), self.folder / "bin"
        there.mkdir()
        (there / "ssh").write_text('#!/bin/sh\nprintf "%s\\n" "$@"; exit 7\n')
        (there / "ssh").chmod(0o755)

        def ran(*words: str) -> tuple[int, list[str], str]:
            done = subprocess.run(
                [sys.executable, "-m", "hoopgw.cli", "--home", home, "ssh", *words],
                capture_output=True,
                text=True,
                check=False,
                env={**python_environment(), "PATH": f"{there}:{os.environ['PATH']}"},
            )
            return done.returncode, done.stdout.split("\n")[:-1], done.stderr

        config = str(self.files(home).config)
        status, words, errors = await deferToThread(ran, "-v", "boss@web1", "ls", "-l")
        self.assertEqual(
            (status, words), (7, ["-F", config, "-v", "boss+web1", "ls", "-l"]), errors
        )
        _, words, _ = await deferToThread(ran, "web2")
        self.assertEqual(words, ["-F", config, "web2"])
        status, _, errors = await deferToThread(ran, "web1")
        self.assertEqual(status, 1)
        self.assertIn("boss+web1 or deploy+web1", errors)
        status, _, errors = await deferToThread(ran, "bin@web1")
        self.assertIn("has no account 'bin' for you; these are: boss, deploy", errors)
        status, _, errors = await deferToThread(ran, "orders")
        self.assertIn("these are: web1, web2", errors)


class DestinationTests(SynchronousTestCase):
    """What is meant for `ssh` itself."""

    def test_where_the_destination_is(self) -> None:
        """Among the options of ssh(1)."""
        for line, place in (
            ("web1", 0),
            ("-v web1 uptime -s", 1),
            ("-L 80:localhost:80 root@web1", 2),
            ("-vL 80:localhost:80 web1", 2),
            ("-vL80:localhost:80 web1", 1),
            ("-o BatchMode=yes -p22 -- web1 -x", 4),
        ):
            self.assertEqual(_destination(line.split()), place, line)


class IncludeTests(SynchronousTestCase):
    """The line in the person's own file."""

    def setUp(self) -> None:
        self.user = Path(self.mktemp()).absolute()
        self.user.mkdir()

    def test_what_is_there_already(self) -> None:
        """Is not added again, and what stood around it stays."""
        path = Path("/srv/a b/config")
        text = "\nHost x\n\n\n"
        added = with_line(text, path)
        self.assertEqual(added.splitlines()[1], 'Include "/srv/a b/config"')
        self.assertEqual(with_line(added, path), added)
        self.assertEqual(without_line(added, path), text)
        self.assertEqual(without_line(with_line("", path), path), "")
        self.assertIn("+Include", difference(Path("x"), text, added))

    def test_a_link(self) -> None:
        """Is followed: people keep such files elsewhere."""
        real = self.user / "dotfiles"
        real.write_text("Host own\n")
        (self.user / ".ssh").mkdir()
        (self.user / ".ssh" / "config").symlink_to(real)
        own = OwnConfig.of(self.user)
        own.write(with_line(own.read(), Path("/x")))
        self.assertTrue((self.user / ".ssh" / "config").is_symlink())
        self.assertIn("Include /x", real.read_text())

    def test_included_names(self) -> None:
        """Count as the person's own; ours do not."""
        folder, ours = self.user / ".ssh", self.user / "ours"
        (folder / "more").mkdir(parents=True)
        (folder / "more" / "one").write_text("Host one\n")
        ours.write_text("Host two\n")
        (folder / "config").write_text(f"Include more/* {ours} /nowhere/*\nHost three\n")
        texts = "".join(OwnConfig.of(self.user).texts(ours))
        self.assertIn("Host one", texts)
        self.assertIn("Host three", texts)
        self.assertNotIn("Host two", texts)
