"""Attacks by other users of the machine, and on the files of the gateway."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from attrs import evolve
from twisted.internet import reactor as _reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from hoopgw import config
from hoopgw.errors import ConfigError, PolicyError, UnavailableError
from hoopgw.identity.keyfiles import create_state, load_secret
from hoopgw.ipc import RemoteError
from hoopgw.policy.text import read_directory
from hoopgw.store.sqlite import SqliteStore
from tests.control.gateway_case import ALICE, CAROL, POLICY, ROOT, TOML, GatewayCase
from tests.recording.test_service import ServiceTestCase
from tests.store.test_sqlite import PASSWORD
from tests.store.values import DBA, ask
from tests.support.processes import python_environment

reactor: Any = _reactor

NOBODY = 65534


def talk_as_nobody(path: Path, frame: bytes) -> str:
    """Connect to a unix socket as another user and say something; return what came of it."""
    if os.geteuid() != 0:
        raise SkipTest("only root can become another user")
    reading, writing = os.pipe()
    # Forked, not started anew: this interpreter may be where others cannot reach it.
    child = os.fork()
    if child == 0:
        os.write(writing, _talk(path, frame).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        answer = said.read().decode()
    os.waitpid(child, 0)
    return answer


def _talk(path: Path, frame: bytes) -> str:
    try:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(60)
            connection.connect(str(path))
            connection.sendall(frame)
            return "answered" if connection.recv(1024) else "closed"
    except OSError as error:
        return type(error).__name__


def call(name: str, **body: Any) -> bytes:
    """Return a call as one of our processes makes it."""
    data = msgspec.msgpack.encode([0, 1, name, body])
    return len(data).to_bytes(4, "big") + data


def open_up(path: Path) -> None:
    """Let everybody in, up to a socket, as a careless chmod -R would."""
    path.chmod(0o666)
    for folder in list(path.parents)[:3]:
        if str(folder) not in ("/", "/tmp"):
            folder.chmod(0o755)


class ControlSocketTests(GatewayCase):
    """``run/control.sock``: whoever may call there makes join tokens."""

    async def test_another_user(self) -> None:
        """The modes keep it out, and with the modes gone the kernel's word on who it is."""
        path, frame = self.config.paths.control_socket, call("local_join_token", agent="local")
        first = await deferToThread(talk_as_nobody, path, frame)
        self.assertEqual(first, "PermissionError")
        open_up(path)
        second = await deferToThread(talk_as_nobody, path, frame)
        self.assertIn(second, ("closed", "ConnectionResetError", "BrokenPipeError"))
        tokens = self.store._db.rows("SELECT count(*) FROM join_tokens")
        self.assertEqual(tokens, [(0,)])


class RecorderSocketTests(ServiceTestCase):
    """``run/recorder.sock``."""

    async def test_another_user(self) -> None:
        path, frame = self.state / "recorder.sock", call("follow")
        first = await deferToThread(talk_as_nobody, path, frame)
        self.assertEqual(first, "PermissionError")
        open_up(path)
        second = await deferToThread(talk_as_nobody, path, frame)
        self.assertIn(second, ("closed", "ConnectionResetError", "BrokenPipeError"))
        await self.ready()


class ConfigurationTests(SynchronousTestCase):
    """Files that say what the gateway does."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hg-files-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = self.folder / "hoopgw.toml"
        self.path.write_text(TOML.format(port=8443))
        (self.folder / "policies").mkdir()
        (self.folder / "policies" / "a.cedar").write_text(POLICY)

    def test_a_configuration_that_everybody_may_write(self) -> None:
        """Whoever writes it names the policy's directory and the gateway's keys."""
        self.path.chmod(0o646)
        error = self.assertRaises(ConfigError, config.load, self.path)
        self.assertIn("chmod o-w", str(error))
        self.path.chmod(0o664)
        config.load(self.path)

    def test_an_agents_too(self) -> None:
        """There it names where credentials are sent."""
        path = self.folder / "agent.toml"
        path.write_text('state = "s"\nname = "a"\n[gateway]\nlink = "127.0.0.1:1"\n')
        path.chmod(0o666)
        error = self.assertRaises(ConfigError, config.load_agent, path)
        self.assertIn("chmod o-w", str(error))

    def test_policies_that_everybody_may_write(self) -> None:
        """A file, or the folder that another file could be put into."""
        folder = self.folder / "policies"
        read_directory(folder)
        for path in (folder, folder / "a.cedar"):
            mode = path.stat().st_mode
            path.chmod(mode | 0o002)
            self.assertIn("chmod o-w", str(self.assertRaises(PolicyError, read_directory, folder)))
            path.chmod(mode)

    def test_a_policy_that_is_no_file(self) -> None:
        """A pipe would hold the worker's thread for ever."""
        folder = self.folder / "policies"
        os.mkfifo(folder / "b.cedar")
        self.assertRaises(PolicyError, read_directory, folder)

    def test_a_configuration_that_is_no_file(self) -> None:
        for name in ("/dev/zero", str(self.folder)):
            self.assertRaises(ConfigError, config.load, Path(name))


class StoreFileTests(SynchronousTestCase):
    """``store.db``."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hg-files-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.path = self.folder / "store.db"

    def open(self) -> None:
        """Open the store."""
        SqliteStore.open(self.path, b"k" * 32).close()

    def test_modes_owners_and_links(self) -> None:
        """What others could have written, or is somewhere else, is not opened."""
        self.open()
        self.path.chmod(0o660)
        self.assertIn("chmod 0600", str(self.assertRaises(ConfigError, self.open)))
        self.path.chmod(0o600)
        self.path.rename(self.folder / "other.db")
        self.path.symlink_to(self.folder / "other.db")
        self.assertRaises(UnavailableError, self.open)
        self.path.unlink()
        self.path.mkdir()
        self.assertRaises(UnavailableError, self.open)
        self.path.rmdir()
        os.mkfifo(self.path, 0o600)
        self.assertRaises(ConfigError, self.open)

    def test_of_another_user(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can give files away")
        self.open()
        os.chown(self.path, NOBODY, NOBODY)
        self.assertRaises(ConfigError, self.open)


class TamperTests(GatewayCase):
    """Somebody who can write to the store, and has no key."""

    def sql(self, statement: str, *values: object) -> None:
        """Write behind the gateway's back."""
        connection = sqlite3.connect(self.config.paths.store)
        with connection:
            self.assertGreater(connection.execute(statement, values).rowcount, 0)
        connection.close()

    async def test_approving_by_hand(self) -> None:
        """No row that was written in approves anything, and it is noticed."""
        filed = self.docket.file(ask("delete 1", ALICE, DBA))
        now = time.time()
        self.sql(
            "INSERT INTO votes VALUES (?, 'corp|carol', 'carol', '[\"dba\"]', 1, '', ?, x'00')",
            filed.id,
            now,
        )
        self.sql(
            "UPDATE requests SET state = 'approved', usable_until = ? WHERE id = ?",
            now + 300,
            filed.id,
        )
        self.assertFalse(self.docket.consume(filed.id, filed.digest))
        answer = await self.call("GET", f"/v1/requests/{filed.id}", CAROL)
        self.assertEqual(answer.status, 404)
        metrics = (await self.call("GET", "/metrics")).body
        self.assertNotIn("hoopgw_store_tampered_total 0.0", metrics)

    async def test_taking_a_revocation_back(self) -> None:
        """While the gateway lives it remembers, whatever is in the file."""
        await self.call("POST", f"/v1/logins/{CAROL.session}/revoke", ROOT, {})
        self.sql("DELETE FROM revoked")
        self.assertEqual((await self.call("GET", "/v1/me", CAROL)).status, 401)
        peer = await self.peer()
        greeting = await peer.call("hello", worker="w1")
        self.assertIn(CAROL.session, greeting["revoked"])

    async def test_giving_a_password_to_somebody_else(self) -> None:
        """A verifier that was moved, or given more time, is none."""
        row = evolve(PASSWORD, principal=ALICE, expires=time.time() + 100)
        self.store.keep_password(row)
        peer = await self.peer()
        await peer.call("hello", worker="w1")
        self.assertEqual(
            (await peer.call("session_password", handle=row.handle))["account"], "reader"
        )
        self.sql("UPDATE session_passwords SET account = 'postgres'")
        with self.assertRaises(RemoteError) as caught:
            await peer.call("session_password", handle=row.handle)
        self.assertIn("no such session password", str(caught.exception))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_gateway_refuses_a_state_that_is_not_its_own() -> None:
    """Run by a user who does not own the folder, it starts nothing, and says why."""
    folder = Path(tempfile.mkdtemp(prefix="hg-files-"))
    try:
        (folder / "hoopgw.toml").write_text(TOML.format(port=8443))
        (folder / "policies").mkdir()
        (folder / "policies" / "a.cedar").write_text(POLICY)
        settings = config.load(folder / "hoopgw.toml")
        create_state(settings.paths, settings.tls.names, datetime.now(UTC))
        os.chown(settings.paths.keys, NOBODY, NOBODY)
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "hoopgw.processes.control"),
                *("--config", str(folder / "hoopgw.toml")),
            ],
            env={**os.environ, **python_environment()},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 2, ended.stderr
        assert "chown" in ended.stderr
        with pytest.raises(ConfigError, match="belongs to user"):
            load_secret(settings.paths.store_key)
    finally:
        shutil.rmtree(folder)
