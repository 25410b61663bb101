"""Certificates that are forged, stolen, bent or shown where they must not be.

Most forgeries are signed with the very key of the callers' CA: whoever has it is anybody, but what
is not in the form that the gateway itself would issue must not become what it did not mean.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from hoopgw.events import Cap, Hop, Node
from hoopgw.identity import caller_certificates
from hoopgw.identity.authority import Authority, common_name, moment
from hoopgw.identity.caller_certificates import issue_caller
from hoopgw.identity.certified import encode
from hoopgw.link import certificates as link_certificates
from tests.adversarial.certificate_forging import (
    OTHER,
    TARGET,
    authority,
    certified,
    chain,
    forged,
    refused,
)
from tests.identity.chains_sample import new_key
from tests.identity.test_caller_certificates import octets
from tests.support.caller import Caller, Certificate, LivePsql, psql
from tests.support.gateway import READER, WRITER, GatewayRig
from tests.support.processes import SOON

# What is good


def test_psql_logs_in_with_no_secret(rig: GatewayRig, caller: Caller) -> None:
    """Key and certificate are all that there is; what is recorded says so."""
    certificate = caller.certificate(TARGET)
    options = certificate.options(rig, TARGET)
    assert options["password"] == ""
    live = LivePsql.start(options)
    assert live.ask("SELECT 1") == ["1"]
    live.stop()


def test_both_versions_of_tls(rig: GatewayRig, caller: Caller) -> None:
    """TLS 1.2 shows the certificate in the clear, 1.3 does not; both prove the key."""
    for version in ("TLSv1.2", "TLSv1.3"):
        options = caller.certificate(TARGET).options(rig, TARGET)
        limits = {"ssl_min_protocol_version": version, "ssl_max_protocol_version": version}
        assert psql({**options, **limits}, "SELECT 1").stdout == "1\n"


def test_a_child_is_its_whole_chain(rig: GatewayRig) -> None:
    """Its caps are in the certificate, and hold; its parent's revocation ends it."""
    root = Hop(id="corp|alice", name="alice", kind="person", groups=frozenset({"developers"}))
    caps = (Cap(target=TARGET, actions=frozenset({"Postgres::connect", "Postgres::read"})),)
    child = Hop(id="corp|alice~planner", name="planner", kind="agent", caps=caps)
    node = Node(id=f"node-{time.time_ns()}")
    agent = Caller(rig, chain=(root, child), nodes=(node,))
    options = agent.certificate(TARGET, OTHER).options(rig, TARGET)
    assert psql(options, "SELECT count(*) FROM t").stdout == "5\n"
    done = psql(options, "CREATE TABLE stolen (a int)")
    assert done.returncode == 1
    elsewhere = psql({**options, "dbname": OTHER}, "SELECT 1")
    assert elsewhere.returncode == 2, "the caps name another target only"


def test_a_chain_that_was_minted_offline(rig: GatewayRig, caller: Caller) -> None:
    """Alice > planner > migrator: a certificate for the migrator's own key, ended by the planner's.

    What revokes the planner ends the migrator's live psql within two seconds.
    """
    planner = caller.child("planner")
    migrator = planner.child("migrator", Cap(target=TARGET, actions=frozenset({"*"})))
    certificate = migrator.certificate(TARGET)
    made = x509.load_pem_x509_certificate((certificate.folder / "crt").read_bytes())
    der = made.public_bytes(Encoding.DER)
    ca, url = authority(rig, "callers").certificate, rig.settings.control.url
    shown = caller_certificates.verify_caller(der, [ca], url, time.time())
    assert shown.principal.path == "alice / planner / migrator"
    assert made.not_valid_after_utc.timestamp() < time.time() + 241
    live = LivePsql.start(certificate.options(rig, TARGET))
    assert live.ask("SELECT 1") == ["1"]
    begun = time.monotonic()
    rig.api("POST", f"/v1/nodes/{shown.principal.nodes[0].id}/revoke", {})
    while live.ask("SELECT 1") == ["1"]:
        assert time.monotonic() < begun + SOON
    refused(rig, certificate, "revoked")
    assert migrator.post("/v1/certificates", {}).status_code == 401
    live.stop()


# CAs


def _of_another_ca(rig: GatewayRig, folder: Path, ca: Authority) -> Certificate:
    key = new_key()
    made = issue_caller(ca, certified(rig), key.public_key(), time.time())
    return Certificate.write(folder, key, made.public_bytes(Encoding.PEM).decode())


@pytest.mark.parametrize("name", ["link", "listeners", "foreign", "namesake"])
def test_another_ca(rig: GatewayRig, tmp_path: Path, name: str) -> None:
    """Each of the gateway's other CAs, a stranger's, and one that only has the same name."""
    key = new_key()
    make: dict[str, Callable[[], Authority]] = {
        "link": lambda: authority(rig, "link"),
        "listeners": lambda: authority(rig, "listeners"),
        "foreign": lambda: Authority(link_certificates.make_ca(key, moment(time.time())), key),
        "namesake": lambda: Authority(caller_certificates.make_ca(key, moment(time.time())), key),
    }
    certificate = _of_another_ca(rig, tmp_path / name, make[name]())
    done = psql(certificate.options(rig, TARGET), "SELECT 1")
    assert done.returncode == 2
    assert "alert" in done.stderr or "closed the connection" in done.stderr, done.stderr


def test_an_agents_certificate_at_a_listener(rig: GatewayRig, tmp_path: Path) -> None:
    """Who may serve targets may not ask for them."""
    link, key = authority(rig, "link"), new_key()
    made = link_certificates.issue_agent(
        link.certificate, link.key, "local", key.public_key(), moment(time.time())
    )
    certificate = Certificate.write(tmp_path / "a", key, made.public_bytes(Encoding.PEM).decode())
    assert psql(certificate.options(rig, TARGET), "SELECT 1").returncode == 2


def test_a_callers_certificate_at_the_link(rig: GatewayRig, caller: Caller) -> None:
    """Who may ask for targets may not serve them: TLS does not let it in."""
    certificate = caller.certificate(TARGET)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(certificate.folder / "crt", certificate.folder / "key")
    where = ("127.0.0.1", rig.settings.link.listen.port)
    with (
        socket.create_connection(where, timeout=60) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
        context.wrap_socket(plain) as secured,
    ):
        # In TLS 1.3 the client learns of it with the first bytes.
        assert secured.recv(1) == b"no alert came"


# What was forged with the CA's own key


def test_without_a_chain(rig: GatewayRig, tmp_path: Path) -> None:
    """A certificate of the right CA that says nothing is nobody's."""
    refused(rig, forged(rig, tmp_path / "c"), "holds no chain")


@pytest.mark.parametrize(
    ("form", "why"),
    [
        (b"", "malformed"),
        (b"\x04\x00", "JSON"),
        (octets(b"{}"), "lacks"),
        (octets(b"[" * 3_000), "JSON"),
        (octets(b'{"v":1,"v":1}'), "JSON"),
        (octets(b"\xff" * 100), "JSON"),
        (octets(b" " * 14_000), "too long"),
    ],
)
def test_a_malformed_chain(rig: GatewayRig, tmp_path: Path, form: bytes, why: str) -> None:
    """Whatever it is, it is refused in PostgreSQL's own words."""
    refused(rig, forged(rig, tmp_path / "c", chain(form)), why)


def test_of_another_gateway(rig: GatewayRig, tmp_path: Path) -> None:
    """Though the same CA had issued both."""
    other = encode(certified(rig, issuer="https://other.example:8443"))
    refused(rig, forged(rig, tmp_path / "c", chain(octets(other))), "of another gateway")


def test_a_ca_as_a_caller(rig: GatewayRig, tmp_path: Path) -> None:
    """CA:TRUE in a leaf could issue more of its kind."""
    key, ca, now = new_key(), authority(rig, "callers"), moment(time.time())
    made = (
        x509.CertificateBuilder()
        .subject_name(common_name("hoopgw: forged"))
        .issuer_name(ca.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(minutes=5))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(*chain(octets(encode(certified(rig)))))
        .sign(ca.key, hashes.SHA256())
    )
    pem = made.public_bytes(Encoding.PEM).decode()
    certificate = Certificate.write(tmp_path / "c", key, pem)
    done = psql(certificate.options(rig, TARGET), "SELECT 1")
    assert done.returncode == 2
    assert "CA's, not an end's" in done.stderr or "alert" in done.stderr
    # And what it issues is not taken: the CA's path length is zero.
    below = issue_caller(Authority(made, key), certified(rig), key.public_key(), time.time())
    both = below.public_bytes(Encoding.PEM).decode() + pem
    chained = Certificate.write(tmp_path / "d", key, both)
    assert psql(chained.options(rig, TARGET), "SELECT 1").returncode == 2


def test_a_servers_purpose(rig: GatewayRig, tmp_path: Path) -> None:
    """A certificate for servers is none for callers, whatever chain is in it."""
    made = forged(
        rig,
        tmp_path / "c",
        chain(octets(encode(certified(rig)))),
        purpose=ExtendedKeyUsageOID.SERVER_AUTH,
    )
    assert psql(made.options(rig, TARGET), "SELECT 1").returncode == 2


def test_expired_within_the_skew(rig: GatewayRig, tmp_path: Path) -> None:
    """It begins early for clocks that are behind, and it does not end late."""
    key = new_key()
    made = issue_caller(
        authority(rig, "callers"), certified(rig), key.public_key(), time.time() - 31.0, 30.0
    )
    pem = made.public_bytes(Encoding.PEM).decode()
    refused(rig, Certificate.write(tmp_path / "c", key, pem), "outside its time")


def test_it_ends_while_it_is_used(rig: GatewayRig, caller: Caller) -> None:
    """The certificate says until when it may be shown; its sessions last as the log-in does."""
    certificate = caller.certificate(TARGET, lifetime=5)
    live = LivePsql.start(certificate.options(rig, TARGET))
    assert live.ask("SELECT 1") == ["1"]
    end = time.monotonic() + SOON
    while psql(certificate.options(rig, TARGET), "SELECT 1").returncode == 0:
        assert time.monotonic() < end
    refused(rig, certificate, "outside its time")
    assert live.ask("SELECT 1") == ["1"]
    live.stop()


# Where and whom it is for


def test_elsewhere(rig: GatewayRig, caller: Caller) -> None:
    """Another target, and another account than the one that it is for."""
    refused(rig, caller.certificate(OTHER), f"not for target {TARGET}")
    bound = caller.certificate(TARGET, account=READER)
    assert psql(bound.options(rig, TARGET, READER), "SELECT 1").stdout == "1\n"
    refused(rig, bound, f"not for account {WRITER}")


def test_a_good_certificate_helps_no_password(rig: GatewayRig, caller: Caller) -> None:
    """Who asks for a session password's log-in is held to that password."""
    options = caller.certificate(TARGET).options(rig, TARGET, f"{WRITER}~handle")
    done = psql({**options, "password": "wrong"}, "SELECT 1")
    assert "password authentication failed" in done.stderr


def test_a_bad_certificate_is_not_forgiven(rig: GatewayRig, caller: Caller) -> None:
    """A good token in the password field does not mend a certificate for something else."""
    options = caller.certificate(OTHER).options(rig, TARGET)
    done = psql({**options, "password": rig.token(TARGET)}, "SELECT 1")
    assert "certificate authentication failed" in done.stderr
