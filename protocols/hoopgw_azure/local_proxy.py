"""A proxy on loopback that adds who asks: programs need `HTTPS_PROXY` and a CA file, nothing more.

It takes CONNECT for the hosts that the gateway answers for, goes to the gateway's proxy over TLS,
and shows there a token for that host's target; the log-in's key stays in this process. What is
spoken inside is between the program and the gateway: this process sees ciphertext.

Loopback is there for every user of the machine, so the address alone gives nothing: who connects
has to show a secret of 256 bits, which is in the proxy's URL and so in the environment of this
user's programs only. (Other users cannot read that; root can, and could read the log-in, too.)
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import secrets
import ssl
import threading
from collections.abc import Callable, Collection
from typing import Final

from attrs import define, field, frozen

from hoopgw.errors import HoopgwError
from hoopgw.http.connect import HEAD_LIMIT, Connect, parse_opening
from hoopgw.http.errors import MessageError

USER: Final = "hoopgw"
TUNNELS_LIMIT: Final = 256
"""Connections at once that have shown the secret."""
STRANGERS_LIMIT: Final = 128
"""And that have not: of more, the one that waits longest goes, or any user could keep us busy."""
OPENING: Final = 30.0
"""Seconds for each step before a tunnel stands."""
_START: Final = 60.0
"""Seconds in which the thread must answer us."""
_GOODBYE: Final = 2.0
"""Seconds that the gateway may take to say that it closes, too."""
_PIECE: Final = 65_536
_SENTENCE_LIMIT: Final = 1_024
_REASONS: Final = {
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    407: "Proxy Authentication Required",
    502: "Bad Gateway",
    503: "Service Unavailable",
}
_OPENED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"


class NotOpenedError(HoopgwError):
    """There is no way to the host; the text is for the program."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@frozen(kw_only=True)
class Gateway:
    """The gateway's own proxy."""

    host: str
    port: int
    tls: ssl.SSLContext
    hosts: Collection[str]
    """That it answers for."""
    prove: Callable[[str], tuple[str, str]]
    """Gives account and token for a host; both may be empty. Blocks; raises `HoopgwError`."""


@define(eq=False)
class LocalProxy:
    """The proxy; it listens on loopback from when it is made, in a thread of its own."""

    _gateway: Gateway
    _wanted: int = 0
    """The port to listen on; 0 takes a free one."""
    secret: str = field(factory=lambda: secrets.token_urlsafe(32), init=False, repr=False)
    port: int = field(default=0, init=False)
    _server: asyncio.Server = field(init=False)
    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.new_event_loop, init=False)
    _tunnels: set[asyncio.Task[None]] = field(factory=set, init=False)
    _strangers: dict[asyncio.Task[None], None] = field(factory=dict, init=False)
    """Those that have not shown the secret, in the order in which they came."""
    _thread: threading.Thread = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(_START)

    @property
    def url(self) -> str:
        """What ``HTTPS_PROXY`` is."""
        return f"http://{USER}:{self.secret}@127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End it, with all that goes through it; once is enough."""
        if not self._thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_START)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START)

    async def _listen(self) -> int:
        server = await asyncio.start_server(
            self._accepted, "127.0.0.1", self._wanted, limit=HEAD_LIMIT
        )
        self._server = server
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _end(self) -> None:
        self._server.close()
        tunnels = list(self._tunnels)
        for each in tunnels:
            each.cancel()
        await asyncio.gather(*tunnels, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tunnels.add(task)
        self._strangers[task] = None
        if len(self._strangers) > STRANGERS_LIMIT:
            next(iter(self._strangers)).cancel()
        try:
            await self._serve(reader, writer, task)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return  # one of the two is gone, or we are about to end: there is nobody to tell
        finally:
            self._tunnels.discard(task)
            self._strangers.pop(task, None)
            writer.close()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task: asyncio.Task[None]
    ) -> None:
        try:
            asked = await self._asked(reader)
            self._strangers.pop(task, None)
            if len(self._tunnels) - len(self._strangers) > TUNNELS_LIMIT:
                raise NotOpenedError(503, f"there are {TUNNELS_LIMIT} connections already")
            there, back = await self._open(asked)
        except NotOpenedError as error:
            writer.write(_refusal(error.status, str(error)))
            await writer.drain()
            return
        try:
            writer.write(_OPENED)
            await _join((reader, back), (there, writer))
        finally:
            back.close()

    async def _asked(self, reader: asyncio.StreamReader) -> Connect:
        """Read what a program asks for. Raises `NotOpenedError`."""
        try:
            block = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), OPENING)
            asked = parse_opening(block)
        except (asyncio.LimitOverrunError, TimeoutError) as error:
            raise NotOpenedError(400, "CONNECT did not come as it should") from error
        except MessageError as error:
            raise NotOpenedError(error.status, str(error)) from error
        if not isinstance(asked, Connect):
            raise NotOpenedError(405, "this proxy takes CONNECT and nothing else")
        shown = b"" if asked.credential is None else asked.credential.token
        if not hmac.compare_digest(shown, self.secret.encode()):
            raise NotOpenedError(
                407, "this proxy serves the programs of one user, by its whole URL"
            )
        if asked.host not in self._gateway.hosts:
            raise NotOpenedError(403, "the gateway does not answer for this host")
        return asked

    async def _open(self, asked: Connect) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a tunnel at the gateway. Raises `NotOpenedError`."""
        gateway = self._gateway
        try:
            account, token = await asyncio.to_thread(gateway.prove, asked.host)
        except HoopgwError as error:
            raise NotOpenedError(502, f"you are not known to the gateway: {error}") from error
        try:
            there, back = await asyncio.wait_for(
                asyncio.open_connection(
                    gateway.host,
                    gateway.port,
                    ssl=gateway.tls,
                    limit=HEAD_LIMIT,
                    ssl_shutdown_timeout=_GOODBYE,
                ),
                OPENING,
            )
        except (OSError, TimeoutError) as error:
            text = f"the gateway does not answer: {type(error).__name__}"
            raise NotOpenedError(502, text) from error
        try:
            back.write(_request(asked.host, account, token))
            await asyncio.wait_for(_answer(there), OPENING)
        except BaseException as error:
            back.close()
            if isinstance(error, asyncio.IncompleteReadError | TimeoutError | OSError):
                text = "the gateway did not open a connection"
                raise NotOpenedError(502, text) from error
            raise
        return there, back


def _request(host: str, account: str, token: str) -> bytes:
    """Return CONNECT, with who asks."""
    lines = [f"CONNECT {host}:443 HTTP/1.1", f"Host: {host}:443"]
    if token:
        shown = base64.b64encode(f"{account or '-'}:{token}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {shown}")
    return "\r\n".join((*lines, "", "")).encode()


async def _answer(there: asyncio.StreamReader) -> None:
    """Read the gateway's answer. Raises `NotOpenedError` with its words."""
    head = await there.readuntil(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    if status == [b"200"]:
        return
    said = (await there.read(_SENTENCE_LIMIT)).decode("ascii", "replace").strip()
    code = 403 if status == [b"403"] else 502  # 407 is about our credential, not the program's
    raise NotOpenedError(code, said.removeprefix("hoopgw: ") or "the gateway refused")


async def _join(*ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    """Carry bytes both ways until one side ends."""
    tasks = [asyncio.ensure_future(_carry(*way)) for way in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_PIECE):
        writer.write(data)
        await writer.drain()


def _refusal(status: int, text: str) -> bytes:
    body = f"hoopgw: {text}\n".encode()
    more = 'Proxy-Authenticate: Basic realm="hoopgw"\r\n' if status == 407 else ""
    head = (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Refused')}\r\n{more}"
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body
