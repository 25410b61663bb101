"""Who gets in, and what those are told who do not."""

from __future__ import annotations

import socket
from typing import Any

import psycopg
import pytest

from tests.support.gateway import READER, GatewayRig


def refusal(**options: Any) -> str:
    """Return what libpq says when it cannot connect."""
    with pytest.raises(psycopg.OperationalError) as caught:
        psycopg.connect(**options)
    return str(caught.value)


def test_a_wrong_token(rig: GatewayRig, target: str) -> None:
    """What is no token does not log in, and the reason is not told."""
    said = refusal(**rig.options(target, token="hunter2"))
    assert "FATAL" in said
    assert "hunter2" not in said


def test_a_token_for_another_target(rig: GatewayRig) -> None:
    """A token is good for one target only."""
    assert "FATAL" in refusal(**rig.options("pg15", token=rig.token("pg18")))


def test_a_log_in_token(rig: GatewayRig, target: str) -> None:
    """The token for the gateway itself opens no target."""
    assert "FATAL" in refusal(**rig.options(target, token=rig.token(None)))


def test_a_changed_token(rig: GatewayRig, target: str) -> None:
    """One character of the signature is enough."""
    token = rig.token(target)
    wrong = token[:-10] + ("A" if token[-10] != "A" else "B") + token[-9:]
    assert "FATAL" in refusal(**rig.options(target, token=wrong))


def test_an_expired_token(rig: GatewayRig, target: str) -> None:
    """Time is up."""
    assert "FATAL" in refusal(**rig.options(target, lifetime=-5.0))


def test_no_permit(rig: GatewayRig, target: str) -> None:
    """A person whom no policy knows is told so at the door, in PostgreSQL's words."""
    said = refusal(**rig.options(target, name="mallory", groups=["strangers"]))
    assert "FATAL:  hoopgw: " in said


def test_an_unknown_target(rig: GatewayRig, target: str) -> None:
    """Another name than the configured ones."""
    said = refusal(**rig.options(target) | {"dbname": "elsewhere"})
    assert 'hoopgw knows no target "elsewhere"' in said


def test_an_unknown_account(rig: GatewayRig, target: str) -> None:
    """An account that the agent does not have."""
    said = refusal(**rig.options(target, "postgres"))
    assert "FATAL" in said


def test_no_log_in_without_tls(rig: GatewayRig, target: str) -> None:
    """The token is not even asked for."""
    said = refusal(**rig.options(target) | {"sslmode": "disable"})
    assert "hoopgw takes no log-in without TLS" in said


def test_the_certificate_is_the_gateways(rig: GatewayRig, target: str) -> None:
    """A client that trusts another CA does not give its token away."""
    other = rig.targets["pg15"].server.authority
    assert other is not None
    ca = other.write(rig.folder / "other.crt")
    said = refusal(**rig.options(target) | {"sslrootcert": str(ca)})
    assert "certificate verify failed" in said


def test_replication_is_refused(rig: GatewayRig, target: str) -> None:
    """It would carry everything past the masks."""
    said = refusal(**rig.options(target), replication="database")
    assert "does not pass replication" in said


def test_readers_may_only_read(rig: GatewayRig, target: str, notes: str) -> None:
    """The person's groups decide, not the account."""
    with rig.connect(target, name="rita", groups=["readers"]) as connection:
        assert connection.execute("SELECT count(*) FROM notes").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("INSERT INTO notes (note) VALUES ('no')")
        assert connection.execute("SELECT count(*) FROM notes").fetchone() == (0,)


def test_an_agent_for_a_person(rig: GatewayRig, target: str) -> None:
    """The chain may do what its root may, and no more."""
    with rig.connect(target, READER, agent="planner") as connection:
        assert connection.execute("SELECT current_user").fetchone() == (READER,)
    refusal(**rig.options(target, agent="planner", groups=["strangers"]))


def test_nonsense_is_cut_off(rig: GatewayRig) -> None:
    """What is no PostgreSQL ends the connection, and the gateway goes on."""
    for nonsense in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 64,
        b"\xff" * 20_000,
        b"\x16\x03\x01\0\x05hello",
    ):
        with socket.create_connection(("127.0.0.1", rig.port), timeout=60) as client:
            client.sendall(nonsense)
            client.shutdown(socket.SHUT_WR)
            answer = b""
            try:
                while data := client.recv(65536):
                    answer += data
            except ConnectionResetError:
                continue
            assert len(answer) < 1000
    with rig.connect("pg18") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
