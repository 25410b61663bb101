"""Commands of the user who owns the gateway, over ``run/control.sock``, without a log-in.

Whoever may connect there could read the state folder's keys anyway. `call_local` is the command
line's side: plain, blocking, no reactor.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from attrs import define

from hoopgw.control.enrolment import Enrolment
from hoopgw.control.fleet import Fleet
from hoopgw.control.health import Health
from hoopgw.control.key_calls import KeyCalls
from hoopgw.control.views import agent_view
from hoopgw.errors import AuthenticationError, UnavailableError
from hoopgw.ipc import Body, Handler
from hoopgw.store.rows import Store

TIMEOUT: Final = 10.0
"""Seconds for the whole answer, between two reads."""
_ANSWER_LIMIT: Final = 16 * 2**20


@define(eq=False)
class LocalCalls:
    """Serves the commands."""

    _enrolment: Enrolment
    _health: Health
    _store: Store
    _fleet: Fleet
    _look: Callable[[], None]
    """Renews certificates that are due."""
    _keys: KeyCalls

    def handlers(self) -> Mapping[str, Handler]:
        """Return what may be called, by name."""
        return {
            "local_join_token": self._join_token,
            "local_revoke_agent": self._revoke_agent,
            "local_agents": self._agents,
            "local_status": lambda _body: dict(self._health.report()),
            "local_reload": self._reload,
            **self._keys.handlers(),
        }

    def _join_token(self, body: Body) -> Body:
        """``{agent}`` to ``{agent, token, expires}``."""
        agent = body.get("agent")
        if not isinstance(agent, str):
            raise AuthenticationError("agent: expected a name")
        token, expires = self._enrolment.make_token(agent)
        return {"agent": agent, "token": token.encode(), "expires": expires}

    def _revoke_agent(self, body: Body) -> Body:
        """``{agent}`` to ``{revoked}``: whether it was enrolled."""
        return {"revoked": self._enrolment.revoke(str(body.get("agent", "")))}

    def _agents(self, _body: Body) -> Body:
        """Return what ``GET /v1/agents`` gives."""
        rows, status = {row.name: row for row in self._store.agents()}, self._fleet.agents()
        names = sorted(rows.keys() | status.keys())
        return {"agents": [agent_view(rows.get(name), status.get(name)) for name in names]}

    def _reload(self, _body: Body) -> Body:
        """Look at the certificates now, and let workers look at them and at the policy."""
        self._look()
        self._fleet.tell_all("reload", {})
        return {"workers": self._fleet.workers}


def call_local(path: Path, name: str, /, **body: Any) -> dict[str, Any]:
    """Call a ``local_…`` command of the control process, and wait for its answer.

    Raises:
        UnavailableError: nobody answers at the socket, or the command was refused; the text says
            what.

    """
    request = msgspec.msgpack.encode([0, 1, name, body])
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(str(path))
            connection.sendall(len(request).to_bytes(4, "big") + request)
            while True:
                kind, number, answer = _read_frame(connection)
                if number == 1 and kind in (1, 2):
                    break
    except (OSError, msgspec.MsgspecError) as error:
        raise UnavailableError(
            f"the control process does not answer at {path}: is the gateway running, and are you "
            "the user that it runs as?"
        ) from error
    if kind == 2:
        raise UnavailableError(str(answer.get("text", "refused")))
    return answer


def _read_frame(connection: socket.socket) -> tuple[int, int, dict[str, Any]]:
    size = int.from_bytes(_read(connection, 4), "big")
    if size > _ANSWER_LIMIT:
        raise OSError("the answer is too long")
    kind, number, _, body = msgspec.msgpack.decode(
        _read(connection, size), type=tuple[int, int, str, dict[str, Any]]
    )
    return kind, number, body


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise OSError("the connection was closed")
        data += more
    return data
