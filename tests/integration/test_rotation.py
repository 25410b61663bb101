"""Every key is rotated in a running gateway, with a live psql, and log-ins all the time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from hoopgw.control.local import call_local
from hoopgw.errors import UnavailableError
from hoopgw.identity.key_kinds import KINDS
from hoopgw.recording.notes import Verifier
from hoopgw.recording.reader import LogReader
from hoopgw.recording.verification import verify
from tests.support import gateway, postgres
from tests.support.caller import Caller, LivePsql, psql
from tests.support.gateway import WRITER, GatewayRig, RigTarget

TARGET: Final = "pg"
PATIENCE: Final = 60.0
VOUCHED: Final = ("listeners", "ssh-hosts")


@pytest.fixture(scope="module")
def own() -> Iterator[GatewayRig]:
    """Start a gateway whose keys nobody else uses."""
    target = RigTarget.make(TARGET, postgres.shared.get(15), "CREATE TABLE t AS SELECT 1 AS a")
    running = gateway.start(target)
    yield running
    running.stop()


def local(rig: GatewayRig, name: str, **body: Any) -> dict[str, Any]:
    """Ask control as the user who owns the gateway does."""
    return call_local(rig.settings.paths.control_socket, name, **body)


def rows(rig: GatewayRig, key: str) -> list[dict[str, Any]]:
    """Return what ``hoopgw keys list`` says of one key."""
    return [row for row in local(rig, "local_keys")["keys"] if row["key"] == key]


def until_signing(rig: GatewayRig, key: str) -> None:
    """Wait until the next key signs, and agents have what belongs to it."""
    end = time.monotonic() + PATIENCE
    while any(row["state"] == "next" for row in rows(rig, key)):
        assert time.monotonic() < end, rows(rig, key)
        time.sleep(0.05)


class LogIns(threading.Thread):
    """Logs in again and again: with a token, with a certificate, with a certificate made now."""

    def __init__(self, rig: GatewayRig, trusted: Path) -> None:
        super().__init__(daemon=True)
        self.rig = rig
        self.trusted = trusted
        self.caller = Caller(rig, trusted=trusted)
        self.made_before = self.caller.certificate(TARGET)
        self.count = 0
        self.failed: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        """Log in until told to stop, or until it fails."""
        while not self.over.is_set() and not self.failed:
            try:
                self.once()
            except Exception as error:
                self.failed.append(repr(error))

    def once(self) -> None:
        """Log in once in each way."""
        for options in (
            self.rig.options(TARGET),
            self.made_before.options(self.rig, TARGET),
            self.caller.certificate(TARGET).options(self.rig, TARGET),
        ):
            done = psql({**options, "sslrootcert": str(self.trusted)}, "SELECT a FROM t")
            if (done.returncode, done.stdout) != (0, "1\n"):
                self.failed.append(done.stdout + done.stderr)
        self.count += 1

    def stop(self) -> None:
        """Stop, and see that nothing failed."""
        self.over.set()
        self.join(PATIENCE)
        assert self.failed == []
        assert self.count


@pytest.mark.parametrize("key", [name for name, kind in KINDS.items() if not kind.optional])
def test_rotated_while_it_runs(own: GatewayRig, key: str, tmp_path: Path) -> None:
    """Sessions live on, log-ins go on, and the agent, which stays the same, takes new keys."""
    rig = own
    trusted = tmp_path / "trusted"
    put(trusted, rig.ca.read_text())
    certificate = Caller(rig).certificate(TARGET)
    sessions = [
        LivePsql.start({**options, "sslrootcert": str(trusted)})
        for options in (rig.options(TARGET), certificate.options(rig, TARGET))
    ]
    try:
        alive(sessions)
        before, agent = rows(rig, key), rig.agents()[0]["enrolled"]
        rotate(rig, key, trusted)
        assert rows(rig, key)[0]["fingerprint"] != before[0]["fingerprint"]
        alive(sessions)
        assert connected(rig)["enrolled"] >= agent
        if key != "log":
            retired(rig, key)
            alive(sessions)
    finally:
        for each in sessions:
            each.stop()


def put(file: Path, text: str) -> None:
    """Write a file so that whoever reads it meanwhile finds all of it, the old or the new."""
    fresh = file.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.replace(file)


def alive(sessions: list[LivePsql]) -> None:
    """Expect that sessions of before go on."""
    assert [each.ask("SELECT a FROM t") for each in sessions] == [["1"]] * len(sessions)


def connected(rig: GatewayRig) -> dict[str, Any]:
    """Return the agent, once it is connected: it connects anew with each new certificate."""
    end = time.monotonic() + PATIENCE
    while not (found := rig.agents())[0]["connected"]:
        assert time.monotonic() < end, found
        time.sleep(0.05)
    assert len(found) == 1
    return found[0]


def rotate(rig: GatewayRig, key: str, trusted: Path) -> None:
    """Rotate a key, with log-ins before, during and after."""
    log_ins = LogIns(rig, trusted)
    log_ins.start()
    try:
        local(rig, "local_rotate_key", key=key, vouched=False)
        if key in VOUCHED:
            # What the operator does: give callers the next CA, then say so.
            document = f"{rig.settings.control.url}/pki/listeners.pem"
            put(trusted, requests.get(document, verify=str(rig.ca), timeout=60).text)
            local(rig, "local_rotate_key", key=key, vouched=True)
        until_signing(rig, key)
        count = log_ins.count
        while log_ins.count < count + 2 and not log_ins.failed:
            time.sleep(0.05)
    finally:
        log_ins.stop()


def retired(rig: GatewayRig, key: str) -> None:
    """Forget the old key: what it signed is refused, new log-ins are not."""
    caller = Caller(rig)
    made_after = caller.certificate(TARGET)
    end = time.monotonic() + PATIENCE
    while len(rows(rig, key)) > 1:
        assert time.monotonic() < end
        with contextlib.suppress(UnavailableError):  # while the agent fetches what is new
            local(rig, "local_retire_key", key=key)
        time.sleep(0.05)
    for options in (rig.options(TARGET), made_after.options(rig, TARGET)):
        done = psql(options, "SELECT a FROM t")
        assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_a_retired_ca_of_callers(own: GatewayRig) -> None:
    """A certificate of before is good until the old CA is retired, and then it is not."""
    certificate = Caller(own).certificate(TARGET)
    options = certificate.options(own, TARGET)
    local(own, "local_rotate_key", key="callers", vouched=False)
    until_signing(own, "callers")
    assert psql(options, "SELECT a FROM t").stdout == "1\n"
    local(own, "local_retire_key", key="callers")
    done = psql(options, "SELECT a FROM t")
    assert done.returncode == 2
    assert "certificate authentication failed" in done.stderr
    assert "not from the callers' CA" in done.stderr


def test_the_store_is_sealed_anew(own: GatewayRig) -> None:
    """A password from before opens a session after; agents stay enrolled."""
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": own.token(None),
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "requested_token_type": "urn:hoopgw:token-type:session-password",
        "audience": f"hoopgw:target:{TARGET}",
        "account": WRITER,
    }
    url = f"{own.settings.control.url}/sts/token"
    answer = requests.post(url, data=form, verify=str(own.ca), timeout=60)
    assert answer.status_code == 200, answer.text
    given = answer.json()
    local(own, "local_rotate_key", key="store", vouched=False)
    options = own.options(TARGET, given["user"], token=given["password"])
    assert psql(options, "SELECT a FROM t").stdout == "1\n"
    connected(own)


def test_the_log_verifies_across_its_keys(own: GatewayRig) -> None:
    """With the first key and with the last; and the agent opens targets for the log of now."""
    log = own.settings.paths.log
    first = Verifier.decode(LogReader(log).key())
    for _ in range(2):
        local(own, "local_rotate_key", key="log", vouched=False)
        assert psql(own.options(TARGET), "SELECT a FROM t").stdout == "1\n"
    last = Verifier.decode(LogReader(log).key())
    assert first != last
    own.agent.stop() if own.agent else None
    own.start_agent()
    assert psql(own.options(TARGET), "SELECT a FROM t").stdout == "1\n"
    own.gateway.stop()
    for key in (first, last):
        report = verify(log, key)
        assert report.problems == ()
        assert report.handovers >= 2
