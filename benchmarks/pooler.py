"""pgbouncer, the yardstick: TLS to its clients, a session of its own for each, nothing judged."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support import postgres
from tests.support.gateway import WRITER, RigTarget
from tests.support.processes import Processes, Running, free_port

PROGRAM = Path("/usr/sbin/pgbouncer")


def start(processes: Processes, folder: Path, target: RigTarget) -> tuple[Running, int]:
    """Start it for one database; return it and its port.

    Raises:
        LookupError: it is not installed.

    """
    if not PROGRAM.exists():
        raise LookupError(f"{PROGRAM} is not installed")
    port = free_port()
    key, certificate = folder / "pooler.key", folder / "pooler.crt"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    (folder / "users.txt").write_text(f'"{WRITER}" "{target.passwords[WRITER]}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"""[databases]
{target.database} = host=127.0.0.1 port={target.server.port} dbname={target.database}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users.txt
pool_mode = session
server_tls_sslmode = disable
client_tls_sslmode = require
client_tls_key_file = {key}
client_tls_cert_file = {certificate}
ignore_startup_parameters = extra_float_digits
"""
    )
    user = postgres.unprivileged_user()  # it does not run as root
    if user is not None:
        for path in folder.iterdir():
            if path.is_file():
                os.chown(path, *user)
    running = processes.start("pgbouncer", [PROGRAM, folder / "pgbouncer.ini"], user=user)
    running.wait_for_port(port)
    return running, port
