"""Certificates that are forged, stolen, bent or shown where they must not be.

Most forgeries are signed with the very key of the callers' CA: whoever has it is anybody, but what
is not in the form that the gateway itself would issue must not become what it did not mean.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import requests
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from hoopgw.control.local import call_local
from hoopgw.errors import UnavailableError
from hoopgw.events import Cap, Hop, Node
from hoopgw.identity import caller_certificates
from hoopgw.identity.authority import Authority, common_name, issue, moment
from hoopgw.identity.authority import request as make_request
from hoopgw.identity.caller_certificates import CHAIN, issue_caller
from hoopgw.identity.certified import Certified, encode
from hoopgw.identity.dpop import make_proof
from hoopgw.identity.key_kinds import KINDS
from hoopgw.identity.keybook import KeyBook
from hoopgw.link import certificates as link_certificates
from tests.identity.chains_sample import new_key
from tests.identity.test_caller_certificates import octets
from tests.support.caller import Caller, Certificate, LivePsql, psql
from tests.support.gateway import READER, WRITER, GatewayRig

TARGET: Final = "pg18"
OTHER: Final = "pg15"


@pytest.fixture
def caller(rig: GatewayRig) -> Caller:
    """Log somebody in."""
    return Caller(rig)


def authority(rig: GatewayRig, name: str) -> Authority:
    """Steal a CA's key."""
    return KeyBook(rig.settings.paths).authority(KINDS[name])


def certified(rig: GatewayRig, **changes: Any) -> Certified:
    """Return what the gateway would certify of somebody."""
    made = Certified(
        issuer=rig.settings.control.url,
        principal=Caller(rig).principal,
        targets=frozenset({TARGET}),
    )
    return evolve(made, **changes)


def forged(
    rig: GatewayRig,
    folder: Path,
    *extensions: tuple[x509.ExtensionType, bool],
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
) -> Certificate:
    """Issue with the stolen key of the callers' CA."""
    key = new_key()
    made = issue(
        authority(rig, "callers"),
        common_name("hoopgw: forged"),
        key.public_key(),
        moment(time.time()),
        timedelta(hours=1),
        purpose,
        extensions,
    )
    return Certificate.write(folder, key, made.public_bytes(Encoding.PEM).decode())


def chain(form: bytes) -> tuple[x509.ExtensionType, bool]:
    """Return the extension that holds a chain."""
    return x509.UnrecognizedExtension(CHAIN, form), False


def refused(rig: GatewayRig, certificate: Certificate, why: str, account: str = WRITER) -> None:
    """Expect that psql is not let in, and is told why."""
    done = psql(certificate.options(rig, TARGET, account), "SELECT 1")
    assert done.returncode == 2, done.stdout
    assert why in done.stderr, done.stderr


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
        assert time.monotonic() < begun + 2.0
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
        socket.create_connection(where, timeout=10) as plain,
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
    certificate = caller.certificate(TARGET, lifetime=2)
    live = LivePsql.start(certificate.options(rig, TARGET))
    assert live.ask("SELECT 1") == ["1"]
    end = time.monotonic() + 10
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


# Revocation


def _revoke(rig: GatewayRig, certificate: Certificate) -> None:
    rig.api("POST", f"/v1/certificates/{certificate.serial}/revoke", {})


def test_revoked_by_its_number(rig: GatewayRig, caller: Caller) -> None:
    """Its live session ends within two seconds; the log-in's other certificate goes on."""
    first, second = caller.certificate(TARGET), caller.certificate(TARGET)
    cut, kept = (LivePsql.start(each.options(rig, TARGET)) for each in (first, second))
    assert cut.ask("SELECT 1") == kept.ask("SELECT 1") == ["1"]
    begun = time.monotonic()
    _revoke(rig, first)
    while cut.ask("SELECT 1") == ["1"]:
        assert time.monotonic() < begun + 2.0
    refused(rig, first, "revoked")
    assert kept.ask("SELECT 1") == ["1"]
    assert psql(second.options(rig, TARGET), "SELECT 1").stdout == "1\n"
    for each in (cut, kept):
        each.stop()


def test_revoked_with_its_log_in(rig: GatewayRig, caller: Caller) -> None:
    """A log-in that ends takes its certificates with it, and what they opened."""
    certificate = caller.certificate(TARGET)
    live = LivePsql.start(certificate.options(rig, TARGET))
    assert live.ask("SELECT 1") == ["1"]
    begun = time.monotonic()
    rig.api("POST", f"/v1/logins/{caller.session}/revoke", {})
    while live.ask("SELECT 1") == ["1"]:
        assert time.monotonic() < begun + 2.0
    refused(rig, certificate, "revoked")
    live.stop()


def test_who_may_revoke(rig: GatewayRig, caller: Caller) -> None:
    """One's own, and administrators; a child does not revoke its parent's."""
    certificate, other = caller.certificate(TARGET), Caller(rig, name="mallory")
    path = f"/v1/certificates/{certificate.serial}/revoke"
    assert other.post(path, {}).status_code == 403
    child = Hop(id="corp|alice~x", name="x", kind="agent")
    below = evolve_caller(caller, child)
    assert below.post(path, {}).status_code == 403
    assert caller.post(path, {}).status_code == 200
    assert caller.post("/v1/certificates/zz/revoke", {}).status_code == 400
    assert caller.post("/v1/certificates/77/revoke", {}).status_code in (403, 404)


def evolve_caller(caller: Caller, child: Hop) -> Caller:
    """Return a child of a caller's log-in."""
    return Caller(
        caller.rig,
        chain=(*caller.principal.chain, child),
        nodes=(Node(id=f"n-{time.time_ns()}"),),
        session=caller.session,
    )


def _crl(rig: GatewayRig) -> x509.CertificateRevocationList:
    url = f"{rig.settings.control.url}/pki/callers.crl"
    answer = requests.get(url, verify=str(rig.ca), timeout=20)
    return x509.load_der_x509_crl(answer.content)


def test_the_list_says_so(rig: GatewayRig, caller: Caller) -> None:
    """Signed by the callers' CA, with a number that grows, within a second."""
    certificate, before = caller.certificate(TARGET), _crl(rig)
    assert before.is_signature_valid(authority(rig, "callers").certificate.public_key())  # type: ignore[arg-type]  # P-256
    serial = int(certificate.serial, 16)
    assert before.get_revoked_certificate_by_serial_number(serial) is None
    _revoke(rig, certificate)
    end = time.monotonic() + 5
    while _crl(rig).get_revoked_certificate_by_serial_number(serial) is None:
        assert time.monotonic() < end
    numbers = [
        crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        for crl in (before, _crl(rig))
    ]
    assert numbers[0] < numbers[1]


# Getting one


def test_a_token_alone_gets_none(rig: GatewayRig, caller: Caller) -> None:
    """Not one that is not bound, nor one whose key was not proved: those can be stolen."""
    body = {"csr": make_request(new_key(), "x"), "targets": [TARGET]}
    unbound = caller.post("/v1/certificates", body, bound=False)
    assert (unbound.status_code, unbound.json()["error"]) == (403, "not_bound")
    assert caller.post("/v1/certificates", body, proved=False).status_code == 401
    thief = Caller(rig, session=caller.session)
    token = caller.token()
    url = f"{rig.settings.control.url}/v1/certificates"
    answer = requests.post(
        url,
        json=body,
        headers={
            "Authorization": f"DPoP {token}",
            "DPoP": make_proof(thief.key, "POST", url, time.time(), token),
        },
        verify=str(rig.ca),
        timeout=20,
    )
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"targets": [TARGET]},
        {"csr": "x", "targets": [TARGET]},
        {"csr": "x" * 10_000, "targets": [TARGET]},
        {"csr": 7, "targets": [TARGET]},
        {"csr": None, "ssh_key": "x", "targets": [TARGET]},
        {"ssh_key": "ssh-rsa AAAA", "accounts": ["root"], "targets": [TARGET]},
        {"ssh_key": "ssh-ed25519 AAAA", "accounts": ["root"], "targets": [TARGET]},
        {"csr": "x", "targets": [TARGET], "groups": ["admins"]},
        {"csr": "x", "targets": [TARGET], "chain": []},
    ],
)
def test_requests_that_are_none(caller: Caller, body: dict[str, Any]) -> None:
    """Each is a refusal with a reason, and no certificate."""
    answer = caller.post("/v1/certificates", body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"targets": []}, 400),
        ({"targets": TARGET}, 400),
        ({"targets": ["nowhere"]}, 404),
        ({"targets": ["*"]}, 404),
        ({"targets": [TARGET] * 40}, 400),
        ({"targets": [TARGET], "lifetime": 0}, 400),
        ({"targets": [TARGET], "lifetime": -5}, 400),
        ({"targets": [TARGET], "lifetime": True}, 400),
        ({"targets": [TARGET], "lifetime": "long"}, 400),
        ({"targets": [TARGET], "account": ""}, 400),
        ({"targets": [TARGET], "account": ["root"]}, 400),
    ],
)
def test_more_than_may_be(caller: Caller, members: dict[str, Any], status: int) -> None:
    """Targets that are none, times that are none."""
    body = {"csr": make_request(new_key(), "x"), **members}
    assert caller.post("/v1/certificates", body).status_code == status


def test_never_longer_than_the_token(rig: GatewayRig) -> None:
    """A long lifetime is cut: to the token, to an hour, to the log-in."""
    short = Caller(rig, lifetime=40.0)
    certificate = short.certificate(TARGET, lifetime=3_600)
    made = x509.load_pem_x509_certificate((certificate.folder / "crt").read_bytes())
    left = made.not_valid_after_utc.timestamp() - time.time()
    assert 20 < left <= 41


def test_a_certificate_is_exchanged_for_nothing(rig: GatewayRig, caller: Caller) -> None:
    """Neither the API nor the token endpoint looks at it."""
    certificate = caller.certificate(TARGET)
    pair = (str(certificate.folder / "crt"), str(certificate.folder / "key"))
    url = rig.settings.control.url
    asked: dict[str, Any] = {"verify": str(rig.ca), "cert": pair}
    assert requests.get(f"{url}/v1/me", timeout=20, **asked).status_code == 401
    pem = (certificate.folder / "crt").read_text()
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": pem,
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
    }
    assert requests.post(f"{url}/sts/token", data=form, timeout=20, **asked).status_code == 400
    done = psql({**rig.options(TARGET), "password": pem[:900].replace("\n", "")}, "SELECT 1")
    assert "password authentication failed" in done.stderr


# Rotation


def test_two_rotations_at_once(rig: GatewayRig) -> None:
    """Of racers one begins; the others are told so, and nothing is half done."""
    path = rig.settings.paths.control_socket

    def rotate(_number: int) -> str:
        try:
            call_local(path, "local_rotate_key", key="ssh-hosts", vouched=False)
        except UnavailableError as error:
            return str(error)
        return "begun"

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(rotate, range(16)))
    assert said.count("begun") == 1, said
    assert all("under way" in text for text in said if text != "begun")
    call_local(path, "local_rotate_key", key="ssh-hosts", vouched=True)
    KeyBook(rig.settings.paths).check_separate()


def test_the_socket_is_not_for_others(rig: GatewayRig) -> None:
    """Keys that are none, and words that are none, change nothing."""
    path = rig.settings.paths.control_socket
    before = call_local(path, "local_keys")
    for body in ({}, {"key": ""}, {"key": "../../etc/passwd"}, {"key": 7}, {"key": ["token"]}):
        with pytest.raises(UnavailableError):
            call_local(path, "local_rotate_key", **body)
    assert call_local(path, "local_keys") == before
    assert path.stat().st_mode & 0o077 == 0
