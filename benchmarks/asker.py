"""A client that asks again as soon as it is answered, over connections that are kept.

``python -m benchmarks.asker PORT PATH CONNECTIONS SECONDS``, with header fields as JSON on standard
input, prints JSON. wrk counts the first answer of each connection like any other, though for it TLS
is negotiated and a way to the target opened: of a few thousand answers, the first of sixteen
connections are the 99th percentile. Here they are told from those that follow.
"""

from __future__ import annotations

import json
import selectors
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Final

from attrs import define, field, frozen

from benchmarks.processors import OTHER, available
from tests.support.processes import TOP, python_environment

_BLANK: Final = b"\r\n\r\n"
_TIMEOUT: Final = 60.0


@frozen
class Lateness:
    """How long answers took, in microseconds."""

    opening: float
    """From the first connection until each has its first answer."""
    middle: float
    """The median of the answers after that."""
    late: float
    """Their 99th percentile."""
    worst: float


def ask(
    port: int, path: str, connections: int, seconds: float, fields: Mapping[str, str]
) -> Lateness:
    """Ask from a process of its own, not on the processor that is measured.

    Raises:
        RuntimeError: an answer was not good.

    """
    words = [str(each) for each in (port, path, connections, seconds)]
    done = subprocess.run(
        [
            *("taskset", "-c", str(OTHER if OTHER in available() else min(available()))),
            *(sys.executable, "-m", "benchmarks.asker", *words),
        ],
        input=json.dumps(dict(fields)),
        env=python_environment(),
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"asking for {path} failed: {done.stderr[-2000:]}")
    return Lateness(**json.loads(done.stdout))


def any_server() -> ssl.SSLContext:
    """Return a context that, as wrk, looks at no certificate: who answers is not measured."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def connect(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Connect with TLS."""
    plain = socket.create_connection(("127.0.0.1", port), _TIMEOUT)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain)


@define(eq=False)
class Connection:
    """One connection, on which one request is under way."""

    port: int
    context: ssl.SSLContext
    request: bytes = field(repr=False)
    sock: ssl.SSLSocket = field(init=False, repr=False)
    _since: float = field(default=0.0, init=False)
    _got: bytes = field(default=b"", init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._since = time.perf_counter()
        self.sock = connect(self.port, self.context)
        self.sock.sendall(self.request)
        self.sock.setblocking(False)

    def receive(self) -> float | None:
        """Read; if that makes the answer whole return how long it took, and ask again."""
        while True:
            try:
                piece = self.sock.recv(65_536)
            except ssl.SSLWantReadError:
                return None
            if not piece:
                raise ConnectionError("the connection was closed within an answer")
            self._got += piece
            if _is_whole(self._got):
                now = time.perf_counter()
                taken, self._since, self._got = now - self._since, now, b""
                self.sock.sendall(self.request)
                return taken


def _is_whole(answer: bytes) -> bool:
    head, blank, body = answer.partition(_BLANK)
    if not blank:
        return False
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ValueError(f"an answer is not good: {head[:200]!r}")
    _name, _colon, length = head.lower().partition(b"content-length:")
    return len(body) >= int(length.split(b"\r\n")[0])


def measure(
    port: int, path: str, connections: int, seconds: float, fields: Mapping[str, str]
) -> Lateness:
    """Ask until it is over."""
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    if "Host" not in fields:
        lines.append("Host: 127.0.0.1")
    request = "\r\n".join(lines).encode() + _BLANK
    context, selector = any_server(), selectors.DefaultSelector()
    waiting = set()
    begin = time.perf_counter()
    for _ in range(connections):
        one = Connection(port, context, request)
        selector.register(one.sock, selectors.EVENT_READ, one)
        waiting.add(one)
    opening, others = 0.0, list[float]()
    end = float("inf")
    while time.perf_counter() < end:
        for key, _event in selector.select(_TIMEOUT):
            taken = key.data.receive()
            if taken is None:
                continue
            if key.data in waiting:
                waiting.discard(key.data)
                opening = time.perf_counter() - begin
                end = begin + opening + seconds if not waiting else end
            elif time.perf_counter() - taken > begin + opening and not waiting:
                others.append(taken)  # and asked for after all were open
    others.sort()
    shares = (others[len(others) // 2], others[int(len(others) * 0.99)], others[-1])
    return Lateness(opening * 1e6, *(share * 1e6 for share in shares))


def main() -> None:
    """Measure what the arguments say."""
    port, path, connections, seconds = sys.argv[1:]
    found = measure(int(port), path, int(connections), float(seconds), json.load(sys.stdin))
    names = ("opening", "middle", "late", "worst")
    print(json.dumps({name: getattr(found, name) for name in names}))


if __name__ == "__main__":
    main()
