"""Certificates of callers: revoked, asked for by others, for too long, and during a rotation."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from cryptography import x509

from hoopgw.control.local import call_local
from hoopgw.errors import UnavailableError
from hoopgw.events import Hop, Node
from hoopgw.identity.authority import request as make_request
from hoopgw.identity.dpop import make_proof
from hoopgw.identity.keybook import KeyBook
from tests.adversarial.certificate_forging import TARGET, authority, refused
from tests.identity.chains_sample import new_key
from tests.support.caller import Caller, Certificate, LivePsql, psql
from tests.support.gateway import GatewayRig
from tests.support.processes import SOON

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
        assert time.monotonic() < begun + SOON
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
        assert time.monotonic() < begun + SOON
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
    answer = requests.get(url, verify=str(rig.ca), timeout=60)
    return x509.load_der_x509_crl(answer.content)


def test_the_list_says_so(rig: GatewayRig, caller: Caller) -> None:
    """Signed by the callers' CA, with a number that grows, within a second."""
    certificate, before = caller.certificate(TARGET), _crl(rig)
    assert before.is_signature_valid(authority(rig, "callers").certificate.public_key())  # type: ignore[arg-type]  # P-256
    serial = int(certificate.serial, 16)
    assert before.get_revoked_certificate_by_serial_number(serial) is None
    _revoke(rig, certificate)
    end = time.monotonic() + SOON
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
        timeout=60,
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
    assert requests.get(f"{url}/v1/me", timeout=60, **asked).status_code == 401
    pem = (certificate.folder / "crt").read_text()
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": pem,
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
    }
    assert requests.post(f"{url}/sts/token", data=form, timeout=60, **asked).status_code == 400
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
