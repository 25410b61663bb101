"""What the supervisor does for a gateway that runs: renewal, reload, order, and what it counts."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import requests
from psycopg import errors

from hoopgw.identity.keyfiles import renew_gateway_certificate, renew_link_certificate
from tests.integration.test_failures import works
from tests.support import gateway, postgres
from tests.support.gateway import GatewayRig, RigTarget, process_of
from tests.support.processes import children_of, wait_until

_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


@pytest.fixture(scope="module")
def rig() -> Iterator[GatewayRig]:
    """Start a gateway of this module's own."""
    running = gateway.start(
        RigTarget.make("orders", postgres.shared.get(18), "CREATE TABLE t (a int)")
    )
    yield running
    running.stop()


def shown(rig: GatewayRig, port: int) -> bytes:
    """Return the certificate that new callers of a port see, once it is trusted."""
    context = ssl.create_default_context(cafile=str(rig.ca))
    with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
        if port == rig.port:
            plain.sendall(_SSL_REQUEST)
            assert plain.recv(1) == b"S"
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
            seen = secured.getpeercert(binary_form=True)
            assert seen is not None
            return seen


def session_password(rig: GatewayRig) -> dict[str, Any]:
    """Return libpq's options for a log-in by SCRAM that must be bound to the channel."""
    answer = requests.post(
        f"{rig.settings.control.url}/sts/token",
        data={
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": rig.token(None),
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "requested_token_type": "urn:hoopgw:token-type:session-password",
            "audience": "hoopgw:target:orders",
            "account": gateway.WRITER,
        },
        verify=str(rig.ca),
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    options = rig.options("orders", token=answer.json()["password"])
    return {**options, "user": answer.json()["user"], "channel_binding": "require"}


def test_certificates_are_renewed_under_sessions(rig: GatewayRig) -> None:
    """New callers and agents see the new ones; sessions that stand are not cut."""
    paths, control = rig.settings.paths, rig.settings.control.listen.port
    with rig.connect("orders") as standing, psycopg.connect(**session_password(rig)) as bound:
        before = {port: shown(rig, port) for port in (rig.port, control)}
        renew_gateway_certificate(paths, rig.settings.tls.names, datetime.now(UTC))
        renew_link_certificate(paths, datetime.now(UTC))
        os.kill(rig.gateway.pid, signal.SIGHUP)
        rig.gateway.wait_for_line("told to look at policy and certificates")
        wait_until(
            "new ones are shown",
            lambda: all(shown(rig, port) != old for port, old in before.items()),
        )
        for connection in (standing, bound):
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with psycopg.connect(**session_password(rig)) as later:
            assert later.execute("SELECT 1").fetchone() == (1,)
    assert rig.agent is not None
    rig.agent.kill()
    rig.start_agent()  # it trusts the link's new certificate
    assert works(rig)


def test_sighup_reloads_policy(rig: GatewayRig) -> None:
    """A policy that is put in place is in force after SIGHUP."""
    policy = rig.folder / "policies" / "test.cedar"
    old = policy.read_text()
    with rig.connect("orders") as connection:
        connection.execute("SELECT * FROM t")
        policy.write_text(
            old + '@id("none") @deny("not today")\n'
            'forbid (principal, action == Postgres::Action::"select", resource);\n'
        )
        os.kill(rig.gateway.pid, signal.SIGHUP)

        def refused() -> bool:
            with suppress(errors.InsufficientPrivilege):
                connection.execute("SELECT * FROM t")
                return False
            return True

        try:
            wait_until("the policy is in force", refused)
        finally:
            policy.write_text(old)
        wait_until("the old policy is in force again", lambda: not refused())


def test_metrics(rig: GatewayRig) -> None:
    """What ran, was refused, lives and is connected is counted."""
    with pytest.raises(psycopg.OperationalError):
        rig.connect("orders", token="nonsense")
    with rig.connect("orders") as connection:
        connection.execute("SELECT 1")
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("DO $$BEGIN END$$")
        worker = process_of(rig, "worker")
        os.kill(children_of(worker)[0], signal.SIGKILL)  # the parser
        wait_until("all is counted", lambda: _is_counted(rig), 20)
        assert value(rig, "hoopgw_sessions_live") == 1


def _is_counted(rig: GatewayRig) -> bool:
    return value(rig, 'hoopgw_recorder_lag_bytes{worker="worker1"}') >= 0 and all(
        value(rig, name) >= 1
        for name in (
            'hoopgw_operations_total{decision="allow",worker="worker1"}',
            'hoopgw_operations_total{decision="deny",worker="worker1"}',
            'hoopgw_sessions_refused_total{worker="worker1"}',
            'hoopgw_parser_restarts_total{worker="worker1"}',
            "hoopgw_agents_connected",
            "hoopgw_workers",
        )
    )


def value(rig: GatewayRig, name: str) -> float:
    """Return the value of a metric; -1 if it is not there."""
    answer = requests.get(f"{rig.settings.control.url}/metrics", verify=str(rig.ca), timeout=60)
    found = re.search(rf"^{re.escape(name)} (\S+)$", answer.text, re.MULTILINE)
    return -1.0 if found is None else float(found[1])


def test_a_stop_goes_inwards() -> None:
    """The worker ends first, then control, the recorder last; nothing has to be killed."""
    running = gateway.start(
        RigTarget.make("orders", postgres.shared.get(18), "CREATE TABLE t (a int)")
    )
    try:
        with rig_session(running):
            roles = {process_of(running, role): role for role in ("worker", "control", "recorder")}
            assert running.gateway.stop() in (0, -signal.SIGTERM)
        assert len(roles) == 3
        assert "is killed" not in running.gateway.output
        said = [
            running.gateway.output.index(text)
            for text in ("worker has ended", "control has ended", "recorder has ended")
        ]
        assert said == sorted(said)
    finally:
        running.stop()


def rig_session(rig: GatewayRig) -> psycopg.Connection[Any]:
    """Open a session that the stop has to end."""
    connection = rig.connect("orders")
    connection.execute("SELECT 1")
    return connection
