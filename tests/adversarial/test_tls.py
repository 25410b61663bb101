"""Bytes around the TLS handshake, and outside it: nothing that was not encrypted counts."""

from __future__ import annotations

import socket
import ssl
import struct

import psycopg
import pytest

from tests.support.certificates import Authority
from tests.support.gateway import WRITER, GatewayRig
from tests.support.processes import wait_until
from tests.support.raw_postgres import (
    GSS_REQUEST,
    SSL_REQUEST,
    SYNC,
    RawClient,
    cancel_request,
    codes,
    kinds,
    message,
    parse,
    query,
    startup,
    through,
)

TARGET = "pg18"


def hello(rig: GatewayRig) -> bytes:
    """Return the first flight of a handshake, as OpenSSL makes it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=str(rig.ca))
    context.set_alpn_protocols(["postgresql"])
    client = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def works(rig: GatewayRig) -> bool:
    """Say whether a session can be had, still."""
    with through(rig, TARGET) as client:
        return kinds(client.ask(query("SELECT 1"))) == "TDCZ"


@pytest.mark.parametrize(
    "smuggled",
    [
        startup(user=WRITER, database=TARGET),
        message("p", b"token\0"),
        b"x",
        SSL_REQUEST,
        GSS_REQUEST,
        b"\x16\x03\x01",
    ],
)
@pytest.mark.parametrize("request_", [SSL_REQUEST, GSS_REQUEST])
def test_bytes_behind_an_encryption_request(
    rig: GatewayRig, request_: bytes, smuggled: bytes
) -> None:
    """CVE-2021-23214: what a man in the middle sends ahead would be taken as if it were encrypted.

    PostgreSQL before 14.1 took it; later ones answer "received unencrypted data".
    """
    with RawClient(rig.port) as client:
        [error] = client.send(request_, smuggled).all()
        assert error.fields["C"] == "08P01"
        assert "unencrypted" in error.fields["M"]


def test_a_hello_behind_the_request(rig: GatewayRig) -> None:
    """Not even the handshake itself: who sends it ahead has not seen the answer."""
    with RawClient(rig.port) as client:
        assert codes(client.send(SSL_REQUEST, hello(rig)).all()) == ["08P01"]


def test_requests_in_every_order(rig: GatewayRig) -> None:
    """Each encryption is asked for once; GSSAPI is not had, and TLS may follow."""
    with RawClient(rig.port) as client:
        assert client.send(GSS_REQUEST).byte() == b"N"
        assert codes(client.send(GSS_REQUEST).all()) == ["08P01"]
    with RawClient(rig.port) as client:
        assert client.send(SSL_REQUEST).byte() == b"S"
        assert client.send(SSL_REQUEST).byte() in (b"", b"\x15")  # an alert: it is no handshake
    with RawClient(rig.port) as client:
        assert client.send(GSS_REQUEST).byte() == b"N"
        client.start_tls(str(rig.ca)).send(startup(user=WRITER, database=TARGET))
        client.log_in(rig.token(TARGET))
        assert kinds(client.ask(query("SELECT 1"))) == "TDCZ"


@pytest.mark.parametrize("request_", [SSL_REQUEST, GSS_REQUEST])
def test_requests_inside_tls(rig: GatewayRig, request_: bytes) -> None:
    """TLS is not asked for in TLS, nor GSSAPI: no second layer, no way back."""
    with RawClient(rig.port).start_tls(str(rig.ca)) as client:
        assert codes(client.send(request_).all()) == ["08P01"]


@pytest.mark.parametrize("before", [b"", GSS_REQUEST])
def test_no_log_in_in_clear(rig: GatewayRig, before: bytes) -> None:
    """A startup packet outside TLS ends there: neither a token nor a password is asked for."""
    for user in (WRITER, f"{WRITER}~handle"):
        with RawClient(rig.port) as client:
            if before:
                assert client.send(before).byte() == b"N"
            answers = client.send(startup(user=user, database=TARGET)).all()
            assert (kinds(answers), codes(answers)) == ("E", ["28000"])
            assert "TLS" in answers[0].fields["M"]


def test_direct_tls(rig: GatewayRig) -> None:
    """As libpq 17 does: it begins with the handshake, and names the protocol."""
    with RawClient(rig.port) as client:
        client.start_tls(str(rig.ca), alpn=["postgresql"], ask=False)
        client.send(startup(user=WRITER, database=TARGET)).log_in(rig.token(TARGET))
        assert kinds(client.ask(query("SELECT 1"))) == "TDCZ"


@pytest.mark.parametrize("alpn", [[], ["http/1.1"], ["postgres"], ["h2", "imap"]])
def test_direct_tls_for_another_protocol(rig: GatewayRig, alpn: list[str]) -> None:
    """Without ALPN, a browser could be made to speak to us (the ALPACA attack)."""
    with RawClient(rig.port) as client:
        client.start_tls(str(rig.ca), alpn=alpn, ask=False)
        answers = client.send(startup(user=WRITER, database=TARGET)).all()
        assert "R" not in kinds(answers)
        assert codes(answers) in ([], ["08P01"])


def test_a_handshake_that_breaks_off(rig: GatewayRig) -> None:
    """Cut off after every eighth byte: each time the gateway closes, and goes on."""
    whole = hello(rig)
    for size in range(1, len(whole), max(1, len(whole) // 8)):
        for ask in (SSL_REQUEST, b""):
            with RawClient(rig.port) as client:
                if ask:
                    assert client.send(ask).byte() == b"S"
                client.send(whole[:size])
                client.socket.shutdown(socket.SHUT_WR)
                assert client.byte() == b""
    assert works(rig)


def test_a_handshake_byte_by_byte(rig: GatewayRig) -> None:
    """However it is cut, it is one handshake."""
    with RawClient(rig.port) as client:
        for byte in hello(rig):
            client.send(bytes([byte]))
        assert client.byte() == b"\x16"  # the server's hello


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\xff\xff" + b"\0" * 100,
        b"\x16\x03\x01\0\x05hello" * 40,
        b"\x16" * 200_000,
        b"\x80\x2e\x01\0\x02",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        struct.pack(">I", 0x7FFFFFFF) + b"\0" * 100,
    ],
)
def test_nonsense_for_a_handshake(rig: GatewayRig, nonsense: bytes) -> None:
    """It ends the connection, with less said than was sent."""
    for ask in (SSL_REQUEST, b""):
        with RawClient(rig.port) as client:
            if ask:
                assert client.send(ask).byte() == b"S"
            try:
                client.send(nonsense)
                client.socket.shutdown(socket.SHUT_WR)
            except OSError:
                continue
            answer = b""
            while byte := client.byte():
                answer += byte
            assert len(answer) < 300
    assert works(rig)


def test_old_tls(rig: GatewayRig) -> None:
    """TLS before 1.2 is not spoken."""
    context = ssl.create_default_context(cafile=str(rig.ca))
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with RawClient(rig.port) as client:
        assert client.send(SSL_REQUEST).byte() == b"S"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(client.socket, server_hostname="127.0.0.1")


def test_the_gateways_key_is_its_own(rig: GatewayRig) -> None:
    """A client that trusts another CA notices who answers, before it says who it is."""
    stranger = Authority.make().write(rig.folder / "stranger.crt")
    options = rig.options(TARGET) | {"sslrootcert": str(stranger)}
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        psycopg.connect(**options)


@pytest.mark.parametrize("encrypted", [False, True])
def test_cancel_before_and_inside_tls(rig: GatewayRig, encrypted: bool) -> None:
    """Libpq 16 cancels in clear, 17 inside TLS; the key decides, and a wrong one does nothing."""
    with through(rig, TARGET) as client:
        client.send(query("SELECT pg_sleep(300)"))
        place = rig.targets[TARGET]
        wait_until("it runs", lambda: place.server.is_asleep(place.database))
        pid, secret = client.key
        wrong = bytes([secret[0] ^ 1]) + secret[1:]
        for key in (
            (pid, wrong),
            (pid ^ 1, secret),
            (pid, b""),
            (pid, secret + b"\0"),
            (pid, secret),
        ):
            with RawClient(rig.port) as other:
                if encrypted:
                    other.start_tls(str(rig.ca))
                other.send(cancel_request(key))
                assert other.all() == [] or key[1] == b""
            if key != (pid, secret):
                assert client.within(0.05) == []
        assert codes(client.until("Z")) == ["57014"]


def test_the_servers_own_key_is_kept(rig: GatewayRig) -> None:
    """The key that a client has is the gateway's: at the server it opens nothing."""
    place = rig.targets[TARGET]
    with through(rig, TARGET) as client:
        client.send(query("SELECT pg_backend_pid()"))
        (row,) = [got.values for got in client.until("Z") if got.kind == "D"]
        assert row[0] != str(client.key[0]).encode()
        client.send(parse("SELECT pg_sleep(0.3)"), SYNC, query("SELECT pg_sleep(0.3)"))
        with RawClient(place.server.port) as other:
            other.send(cancel_request(client.key))
            assert other.byte() == b""
        client.until("Z")
        assert codes(client.until("Z")) == []


@pytest.mark.parametrize(("version", "size"), [(0x30000, 4), (0x30002, 32), (0x3270F, 32)])
def test_the_size_of_a_key(rig: GatewayRig, version: int, size: int) -> None:
    """Protocol 3.2 has room for a key that cannot be guessed."""
    with through(rig, TARGET, version=version) as client:
        assert len(client.key[1]) == size
