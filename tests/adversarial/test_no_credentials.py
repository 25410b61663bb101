"""A target's credential is in the agent only: the gateway's memory is looked through."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import gateway, postgres
from tests.support.gateway import RigTarget
from tests.support.processes import children_of

CHUNK = 1 << 22


def is_in_memory(pid: int, secret: bytes) -> bool:
    """Say whether bytes are anywhere in what a process can write to."""
    overlap = len(secret) - 1
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            start, end = (int(part, 16) for part in place.split("-"))
            at = start
            while at < end:
                memory.seek(at)
                try:
                    data = memory.read(min(CHUNK, end - at))
                except OSError:  # a guard page
                    break
                if secret in data:
                    return True
                if len(data) <= overlap:
                    break
                at += len(data) - overlap
    return False


def family(pid: int) -> list[int]:
    """Return a process and all below it."""
    return [pid, *(below for child in children_of(pid) for below in family(child))]


def test_the_gateways_memory_has_no_credential() -> None:
    """Not in any of its processes, while a session is open; the search itself does find things."""
    target = RigTarget.make("orders", postgres.shared.get(18), "CREATE TABLE t (a int)")
    secrets = [password.encode() for password in target.passwords.values()]
    rig = gateway.start(target)
    try:
        with rig.connect("orders") as connection:
            connection.execute("SELECT 'something-that-the-worker-has-seen'")
            assert rig.agent is not None
            pids = family(rig.gateway.pid)
            assert len(pids) >= 4, "supervisor, recorder, control, worker, parser"
            try:
                found = [pid for pid in pids for s in secrets if is_in_memory(pid, s)]
            except PermissionError:
                pytest.skip("this system does not let us read our children's memory")
            assert found == []
            ours = b"something-that-the-worker-has-seen"
            assert any(is_in_memory(pid, ours) for pid in pids), "the search finds nothing at all"
    finally:
        rig.stop()
