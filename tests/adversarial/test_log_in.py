"""Start-up packets, compared with PostgreSQL 18, and log-ins that are forged."""

from __future__ import annotations

import base64
import hmac
import json
import struct
from collections.abc import Mapping
from typing import Any, Final

import psycopg
import pytest
import requests
from scramp import ScramClient

from hoopgw.identity.keyfiles import load_signing_key
from hoopgw.identity.tokens import target_audience
from tests.support.gateway import WRITER, GatewayRig
from tests.support.raw_postgres import (
    Message,
    RawClient,
    codes,
    kinds,
    message,
    packet,
    query,
    rows,
    sasl_first,
    startup,
    through,
)

TARGET: Final = "pg18"
WHO: Final = {"user": WRITER, "database": TARGET}


def answered(client: RawClient, sent: bytes) -> list[Message]:
    """Send a packet; return what comes before the question for a password, or all."""
    found = client.send(sent).until("R", "E")
    return [got for got in found if got.kind != "R"]


def gist(found: list[Message]) -> list[tuple[str, object]]:
    """Return what both servers must agree on: a negotiation's bytes, an error's code."""
    return [(got.kind, got.body if got.kind == "v" else got.fields.get("C")) for got in found]


@pytest.mark.parametrize(
    "sent",
    [
        *(startup(version, **WHO) for version in (0x30000, 0x30002, 0x30003, 0x3270F)),
        *(packet(version, b"user\0x\0\0") for version in (0, 0x40000, 0xFFFFFFFF)),
        startup(0x30000, **WHO, **{"_pq_.one": "1", "_pq_.two": ""}),
        startup(0x3270F, **WHO, **{"_pq_.grease": "junk"}),
        startup(0x30000, **WHO, application_name="x" * 9_800),
        packet(0x30000, b"user\0x\0database\0pg18\0"),
        packet(0x30000, b"user\0x\0database"),
        packet(0x30000),
        packet(0x30000, b"\0"),
        startup(0x30000, database=TARGET),
        startup(0x30000, user="", database=TARGET),
    ],
)
def test_packets_as_the_server_takes_them(rig: GatewayRig, sent: bytes) -> None:
    """Versions, protocol options, terminators, and who does not say who it is."""
    with RawClient(rig.targets[TARGET].server.port) as server:
        expected = gist(answered(server, sent))
    with RawClient(rig.port).start_tls(str(rig.ca)) as client:
        assert gist(answered(client, sent)) == expected


@pytest.mark.parametrize(
    "sent",
    [
        *(struct.pack(">I", length) for length in (0, 4, 7, 10_001, 2**30, 2**32 - 1)),
        packet(0x30000, b"user\0a\0user\0b\0database\0pg18\0\0"),
        packet(0x30000, b"user\0a\0database\0pg18\0\0more\0\0"),
        packet(0x30000, b"user\0\xff\0database\0pg18\0\0"),
        packet(80877102, b"\0\0\0\1"),
        packet(80877102, b"\0\0\0\1" + b"x" * 300),
        packet(80877103, b"more"),
        packet(0x10000, b"user\0x\0\0"),
        packet(0x20000, b"pg18" + bytes(60)),
    ],
)
def test_packets_that_are_refused(rig: GatewayRig, sent: bytes) -> None:
    """Where the server closes without a word, or takes the last of two values, we refuse."""
    with RawClient(rig.port).start_tls(str(rig.ca)) as client:
        assert codes(client.send(sent).all()) in (["08P01"], ["0A000"])


@pytest.mark.parametrize(
    "parameters",
    [
        {"replication": "database"},
        {"replication": "true"},
        {"options": "-c role=postgres"},
        {"options": "-c session_authorization=postgres"},
        {"options": "--role=postgres"},
        {"options": "-crole=postgres"},
        {"options": "-c\trole=postgres"},
        {"options": r"-c ro\le=postgres"},
        {"options": "-c statement_timeout=1 -c role=postgres"},
        {"options": "-c work_mem=1MB-crole=postgres -c role=postgres"},
        {"options": "-d 5 -c debug_print_plan=on"},
        {"role": "postgres"},
        {"ROLE": "postgres"},
        {"session_authorization": "postgres"},
        {"search_path": "evil"},
        {"local_preload_libraries": "evil"},
        {"dynamic_library_path": "/tmp"},
        {"client_min_messages": "error"},
        {"standard_conforming_strings": "off"},
        {"client_encoding": "SJIS"},
        {"row_security": "off"},
        {"session_replication_role": "replica"},
    ],
)
def test_settings_that_give_more(rig: GatewayRig, parameters: Mapping[str, str]) -> None:
    """A session begins as the gateway says, not as its client would like."""
    with RawClient(rig.port).start_tls(str(rig.ca)) as client:
        assert codes(client.send(startup(**WHO, **parameters)).all()) == ["0A000"]


@pytest.mark.parametrize(
    "database",
    [
        "elsewhere",
        "pg18 host=evil",
        "pg18' OR '1",
        "postgresql://evil/pg18",
        "PG18",
        "pg18\\",
        "../pg18",
        "/pg18",
        "",
        "pg18,pg15",
    ],
)
def test_targets_that_are_none(rig: GatewayRig, database: str) -> None:
    """A name is one of the configuration's, letter by letter: nothing else is read into it."""
    with RawClient(rig.port).start_tls(str(rig.ca)) as client:
        assert codes(client.send(startup(user=WRITER, database=database)).all()) == ["3D000"]


@pytest.mark.parametrize(
    "database", ["postgres", "template1", "x' host='evil", "pg18/pg18", "a\\b"]
)
def test_other_databases_of_a_target(rig: GatewayRig, database: str) -> None:
    """What follows the slash is a database's name for the server, and no more than that."""
    with RawClient(rig.port).start_tls(str(rig.ca)) as client:
        client.send(startup(user=WRITER, database=f"{TARGET}/{database}"))
        client.until("R")
        found = client.send(message("p", rig.token(TARGET).encode() + b"\0")).until("Z", "E")
        if found[-1].kind == "Z":
            assert rows(client.ask(query("SELECT current_database()"))) == [[database.encode()]]
        else:
            assert codes(found) == ["08001"]


def part(value: Mapping[str, Any] | bytes) -> str:
    """Encode a part of a token."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(rig: GatewayRig) -> dict[str, str]:
    """Return tokens that are not good, each for a reason of its own."""
    good = rig.token(TARGET)
    head, claims, signature = good.split(".")
    header = json.loads(base64.urlsafe_b64decode(head + "=="))
    body = json.loads(base64.urlsafe_b64decode(claims + "=="))
    public = load_signing_key(rig.settings.paths.token_key).as_dict(private=False)
    raw_key = base64.urlsafe_b64decode(str(public["x"]) + "==")

    def with_secret(secret: bytes, **changes: Any) -> str:
        signed = f"{part({**header, 'alg': 'HS256', **changes})}.{claims}"
        return f"{signed}.{part(hmac.digest(secret, signed.encode(), 'sha256'))}"

    wider = part({**body, "aud": "hoopgw"})
    return {
        "no algorithm": f"{part({**header, 'alg': 'none'})}.{claims}.",
        "NONE": f"{part({**header, 'alg': 'NONE'})}.{claims}.{signature}",
        "the public key as a secret": with_secret(raw_key),
        "the public JWK as a secret": with_secret(json.dumps(public).encode()),
        "an empty secret": with_secret(b""),
        "another key's name": f"{part({**header, 'kid': 'other'})}.{claims}.{signature}",
        "a key of its own": f"{part({**header, 'jwk': public})}.{claims}.{signature}",
        "a key from elsewhere": f"{part({**header, 'jku': 'https://evil/'})}.{claims}.{signature}",
        "critical": f"{part({**header, 'crit': ['exp']})}.{claims}.{signature}",
        "another type": f"{part({**header, 'typ': 'JWT'})}.{claims}.{signature}",
        "other claims": f"{head}.{wider}.{signature}",
        "no signature": f"{head}.{claims}.",
        "two parts": f"{head}.{claims}",
        "padding": f"{head}.{claims}.{signature}==",
        "a space": f"{good} ",
        "expired": rig.token(TARGET, lifetime=-400.0),
        "for another target": rig.token("pg15"),
        "for the gateway": rig.token(None),
        "empty": "",
        "long": "x" * 60_000,
    }


def test_forged_tokens(rig: GatewayRig) -> None:
    """None logs in, and all are told the same."""
    said = set()
    for name, token in forged(rig).items():
        with RawClient(rig.port).start_tls(str(rig.ca)) as client:
            client.send(startup(**WHO)).until("R")
            found = client.send(message("p", token.encode() + b"\0")).all()
            assert codes(found) == ["28P01"], name
            said.add(found[0].body)
    assert len(said) == 1
    with through(rig, TARGET) as client:
        assert kinds(client.ask(query("SELECT 1"))) == "TDCZ"


def session_password(rig: GatewayRig) -> tuple[str, str]:
    """Get a session password from the token endpoint, as ``hoopgw token`` does."""
    answer = requests.post(
        f"{rig.settings.control.url}/sts/token",
        data={
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token": rig.token(None),
            "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "requested_token_type": "urn:hoopgw:token-type:session-password",
            "audience": target_audience(TARGET),
            "account": WRITER,
        },
        verify=str(rig.ca),
        timeout=60,
    )
    found = answer.json()
    assert answer.ok, found
    return str(found["user"]), str(found["password"])


def scram(client: RawClient, user: str, password: str, target: str = TARGET) -> list[Message]:
    """Log in by SCRAM without channel binding; return all that is answered."""
    found = client.send(startup(user=user, database=target)).until("R", "E")
    if found[-1].kind == "E":
        return found
    exchange = ScramClient(["SCRAM-SHA-256"], "*", password)
    client.send(sasl_first("SCRAM-SHA-256", exchange.get_client_first().encode()))
    exchange.set_server_first(client.until("R")[-1].body[4:].decode())
    client.send(message("p", exchange.get_client_final().encode()))
    return client.until("Z", "E")


def test_session_passwords(rig: GatewayRig) -> None:
    """Good for one account on one target; whatever is wrong looks the same."""
    user, password = session_password(rig)
    handle = user.rpartition("~")[2]
    with RawClient(rig.port).start_tls(str(rig.ca)) as client:
        assert kinds(scram(client, user, password))[-1] == "Z"
        assert kinds(client.ask(query("SELECT 1"))) == "TDCZ"
    shapes = set()
    for who, secret, target in (
        (user, password[:-1] + ("a" if password[-1] != "a" else "b"), TARGET),
        (user, password, "pg15"),
        (f"app_reader~{handle}", password, TARGET),
        (f"{WRITER}~{handle[::-1]}", password, TARGET),
        (f"{WRITER}~{'x' * 5000}", password, TARGET),
    ):
        with RawClient(rig.port).start_tls(str(rig.ca)) as client:
            found = scram(client, who, secret, target)
            assert codes(found) == ["28P01"], who
            text = found[-1].fields["M"].replace(who, "")
            shapes.add((kinds(found), found[-1].fields["C"], text))
    assert len(shapes) == 1


@pytest.mark.parametrize("binding", ["disable", "prefer", "require"])
def test_channel_binding(rig: GatewayRig, binding: str) -> None:
    """Let libpq bind to the gateway's certificate, and may insist on it."""
    user, password = session_password(rig)
    options = rig.options(TARGET, user, token=password)
    with psycopg.connect(**options, channel_binding=binding) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(**rig.options(TARGET), channel_binding="require")


@pytest.mark.parametrize(
    ("mechanism", "first"),
    [
        ("SCRAM-SHA-256", b"y,,n=,r=abcdefgh"),
        ("SCRAM-SHA-256", b"p=tls-server-end-point,,n=,r=abcdefgh"),
        ("SCRAM-SHA-256-PLUS", b"n,,n=,r=abcdefgh"),
        ("SCRAM-SHA-256-PLUS", b"y,,n=,r=abcdefgh"),
        ("SCRAM-SHA-256-PLUS", b"p=tls-unique,,n=,r=abcdefgh"),
        ("SCRAM-SHA-256", b"n,a=postgres,n=,r=abcdefgh"),
        ("SCRAM-SHA-256", b"n,,m=x,n=,r=abcdefgh"),
        ("SCRAM-SHA-256", b"n,,n=,r="),
        ("SCRAM-SHA-256", b"n,,n=,r=" + b"x" * 5000),
        ("SCRAM-SHA-256", b"\xff,,,,"),
        ("SCRAM-SHA-256", b""),
    ],
)
def test_scram_that_is_bent(rig: GatewayRig, mechanism: str, first: bytes) -> None:
    """A binding that was hidden from the client or is of another kind, and what is malformed."""
    user, _password = session_password(rig)
    with RawClient(rig.port).start_tls(str(rig.ca)) as client:
        client.send(startup(user=user, database=TARGET)).until("R")
        assert codes(client.send(sasl_first(mechanism, first)).all()) == ["28P01"]


def test_a_password_is_not_a_token(rig: GatewayRig) -> None:
    """Nor the reverse: each has its own place."""
    user, password = session_password(rig)
    for name, secret in ((WRITER, password), (user, rig.token(TARGET))):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(**rig.options(TARGET, name, token=secret))
