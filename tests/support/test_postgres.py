"""The tests' own machinery for PostgreSQL: every version starts, answers and stops."""

from __future__ import annotations

import os

import psycopg
import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.support import postgres
from tests.support.postgres import Version
from tests.support.processes import children_of


@pytest.mark.parametrize("version", [15, 17, 18])
def test_versions(version: Version) -> None:
    """It is the version that was asked for, with a database of one's own."""
    server = postgres.shared.get(version)
    name = server.new_database("CREATE TABLE t (a int)", "INSERT INTO t VALUES (1)")
    with server.connect(name) as connection:
        assert connection.info.server_version // 10_000 == version
        assert connection.execute("SELECT a FROM t").fetchall() == [(1,)]
        assert server.kill_backends(name) == 1
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    server.drop_database(name)


class ServerTests(SynchronousTestCase):
    """Tests for servers of one's own."""

    def test_tls(self) -> None:
        """The certificate is good for whom trusts the authority."""
        server = postgres.start(17, tls=True)
        self.addCleanup(server.stop)
        assert server.authority is not None
        ca = server.authority.write(server.folder / "ca.crt")
        with server.connect(sslmode="verify-full", sslrootcert=str(ca)) as connection:
            self.assertTrue(connection.pgconn.ssl_in_use)

    def test_crash(self) -> None:
        """A crash ends connections, and leaves nothing to stop."""
        server = postgres.start(18)
        self.addCleanup(server.stop)
        with server.connect() as connection:
            server.crash()
            self.assertRaises(psycopg.OperationalError, connection.execute, "SELECT 1")
        self.assertNotIn(server.running.pid, children_of(os.getpid()))
        self.assertTrue(server.folder.exists())
