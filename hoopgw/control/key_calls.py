"""Commands on keys, of the user who owns the gateway: ``hoopgw keys``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen
from twisted.logger import Logger

from hoopgw.control.keys import KeyKeeper
from hoopgw.control.recorder_watch import RecorderWatch
from hoopgw.identity.key_kinds import KINDS
from hoopgw.ipc import Body, Handler
from hoopgw.recording.notes import Verifier
from hoopgw.recording.reader import LogReader, ReadError

log = Logger()

LOG: Final = "log"


@frozen
class KeyCalls:
    """Serves them, over ``run/control.sock``."""

    _keeper: KeyKeeper
    _recorder: RecorderWatch
    _reader: LogReader

    def handlers(self) -> Mapping[str, Handler]:
        """Return what may be called, by name."""
        return {
            "local_keys": self._list,
            "local_rotate_key": self._rotate,
            "local_retire_key": self._retire,
        }

    def _list(self, _body: Body) -> Body:
        """Return ``{keys}``: each key that signs, comes next or is accepted still."""
        rows = self._keeper.describe()
        return {"keys": [self._log_row(row) if row["key"] == LOG else row for row in rows]}

    async def _rotate(self, body: Body) -> Body:
        """``{key, vouched}`` to ``{key, waits_for}``; nothing to wait for means that it signs."""
        name = str(body.get("key"))
        if name == LOG:
            return {"key": name, "waits_for": [], "public": await self._recorder.hand_over()}
        waits = self._keeper.rotate(name, vouched=body.get("vouched") is True)
        return {"key": name, "waits_for": waits}

    def _retire(self, body: Body) -> Body:
        """``{key, force}`` to ``{retired}``: how many old keys were forgotten."""
        force = body.get("force") is True
        return {"retired": self._keeper.retire(str(body.get("key")), force=force)}

    def _log_row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Name the log's key as auditors know it; how it was handed over says the log."""
        try:
            verifier = Verifier.decode(self._reader.key())
        except ReadError:  # it was never started
            return dict(row)
        return {**row, "use": KINDS[LOG].use, "fingerprint": f"{verifier.name}+{verifier.id.hex()}"}
