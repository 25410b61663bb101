"""The parser process: ``python -m hoopgw_postgres.parser_process``, with a socket as its stdin.

PostgreSQL's grammar runs here and nowhere else, because hostile text can crash it or keep it busy.
A request is a 4-byte big-endian length and a text; the answer, a length and its `Facts`. The first
answer comes unasked and says that the process is ready. It holds nothing between requests, may open
no file, and ends when the socket closes. The worker's side is `parser_client`.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
import threading
from typing import Final

from hoopgw_postgres.analysis import Analyser
from hoopgw_postgres.grammar import TEXT_LIMIT
from hoopgw_postgres.statements import Facts, encode

STACK: Final = 512 * 2**20
"""Bytes of stack: chains of 30,000 operators fit; deeper ones are refused, not crashed on."""
ADDRESS_SPACE: Final = 2 * 2**30
RECURSION: Final = 200_000
"""Python's own limit; `analysis.DEPTH` refuses long before."""
_LENGTH: Final = 4


def main() -> int:
    """Serve the socket that is our stdin until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the supervisor
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    sys.setrecursionlimit(RECURSION)
    threading.stack_size(STACK)
    outcome: list[int] = []
    # Only a new thread gets the stack; if it dies of an exception, nothing is served any more.
    thread = threading.Thread(target=lambda: outcome.append(serve(socket.socket(fileno=0))))
    thread.start()
    thread.join()
    return outcome[0] if outcome else os.EX_SOFTWARE


def serve(connection: socket.socket) -> int:
    """Answer requests until the peer closes."""
    connection.setblocking(True)
    analyser = Analyser()
    analyser.facts(b"SELECT 1")
    gc.collect()
    gc.freeze()
    _send(connection, Facts())
    while True:
        head = _receive(connection, _LENGTH)
        if head is None:
            return os.EX_OK
        length = int.from_bytes(head, "big")
        if length > TEXT_LIMIT:
            return os.EX_PROTOCOL
        text = _receive(connection, length)
        if text is None:
            return os.EX_OK
        _send(connection, analyser.facts(text))


def _send(connection: socket.socket, facts: Facts) -> None:
    answer = encode(facts)
    connection.sendall(len(answer).to_bytes(_LENGTH, "big") + answer)


def _receive(connection: socket.socket, size: int) -> bytes | None:
    """Return exactly ``size`` bytes, or None when the peer has closed."""
    parts = []
    while size:
        part = connection.recv(min(size, 2**16))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


if __name__ == "__main__":
    sys.exit(main())
