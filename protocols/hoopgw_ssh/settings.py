"""What the gateway's configuration says of SSH: a listener's options, and a target's."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any, Final

from attrs import field, frozen

from hoopgw.errors import ConfigError
from hoopgw.spi import TargetSettings
from hoopgw_ssh.inspecting import RECORD_INPUT, input_kept
from hoopgw_ssh.kept_files import KEEP_FILES, files_kept
from hoopgw_ssh.masking import DETECT, PATTERNS, check_outputs
from hoopgw_ssh.user_login import ATTEMPTS_LIMIT, LOGIN_TIMEOUT

STRANGERS: Final = 500
"""Connections that may be logging in at once."""
STRANGERS_PER_ADDRESS: Final = 100
"""Of one address: Ansible opens as many as it has forks."""
_DEVICE: Final = ("device_code", "device_code_from")
_BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "login_timeout": (5, 600),
    "attempts": (1, 20),
    "strangers": (1, 20_000),
    "strangers_per_address": (1, 20_000),
}
HELD_INPUT: Final = "held_input"
"""What becomes of the input of what people have approved: ``closed``, or ``open``."""
FORWARDS: Final = "forwards"
"""Endpoints that forwards may lead to, if policy says so, though none do otherwise."""
SHELL: Final = "shell"
"""What a shell is: ``open``, one on the target; or ``gated``, one of the gateway's."""
TARGET_OPTIONS: Final = frozenset(
    {RECORD_INPUT, KEEP_FILES, HELD_INPUT, FORWARDS, SHELL, DETECT, PATTERNS}
)
"""Options of a target that the gateway knows, besides those of every protocol."""


@frozen(kw_only=True)
class ListenerOptions:
    """What a ``[[listeners]]`` table of SSH may say besides its address."""

    login_timeout: float = LOGIN_TIMEOUT
    """Seconds from a client's asking for the log-in to its being logged in."""
    attempts: int = ATTEMPTS_LIMIT
    """Failed attempts to log in, after which a connection is ended."""
    strangers: int = STRANGERS
    strangers_per_address: int = field(default=STRANGERS_PER_ADDRESS)
    device_code: str = ""
    """The alias of the issuer whose device codes are offered to who has no certificate; empty:
    nothing is offered."""
    device_code_from: tuple[str, ...] = ()
    """Networks that they are offered to; all if none is named."""

    def offers_codes(self, address: str) -> bool:
        """Say whether a client may log in with a device code."""
        if not self.device_code or not self.device_code_from:
            return bool(self.device_code)
        try:
            peer = ip_address(address)
        except ValueError:
            return False
        return any(peer in ip_network(network) for network in self.device_code_from)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> ListenerOptions:
        """Read a listener's options.

        Raises:
            ConfigError: one is not known, or makes no sense.

        """
        numbers = {name: value for name, value in options.items() if name not in _DEVICE}
        for name, value in numbers.items():
            bounds = _BOUNDS.get(name)
            if bounds is None:
                known = ", ".join((*_BOUNDS, *_DEVICE))
                raise ConfigError(f"{name}: an SSH listener has no such option; these are: {known}")
            kinds = (int, float) if name == "login_timeout" else (int,)
            is_number = isinstance(value, kinds) and not isinstance(value, bool)
            if not is_number or not bounds[0] <= value <= bounds[1]:
                raise ConfigError(f"{name}: expected a number from {bounds[0]} to {bounds[1]}")
        return cls(**numbers, **_device(options))


def _device(options: Mapping[str, Any]) -> dict[str, Any]:
    """Read what a listener says of device codes. Raises `ConfigError`."""
    alias, networks = options.get("device_code", ""), options.get("device_code_from", [])
    if not isinstance(alias, str):
        raise ConfigError("device_code: expected the alias of an issuer")
    if not isinstance(networks, list) or (networks and not alias):
        raise ConfigError("device_code_from: expected a list of networks, beside device_code")
    for network in networks:
        try:
            ip_network(network)
        except ValueError as error:
            text = f"device_code_from: expected networks like 10.0.0.0/8, found {network!r}"
            raise ConfigError(text) from error
    return {"device_code": alias, "device_code_from": tuple(networks)}


def check_listener(options: Mapping[str, Any]) -> None:
    """Check a listener's options; for `hoopgw.spi.ProtocolSpec`. Raises `ConfigError`."""
    ListenerOptions.of(options)


def check_target(target: TargetSettings) -> None:
    """Check the gateway's part of a target; for `hoopgw.spi.ProtocolSpec`.

    Raises:
        ConfigError: an option is not known, or makes no sense; or labels are not of paths.

    """
    where = f"targets.{target.name}"
    if unknown := sorted(target.options.keys() - TARGET_OPTIONS):
        raise ConfigError(
            f"{where}.{unknown[0]}: the gateway knows no such option of an SSH target; keys of the "
            "host and how to log in are for the agent's configuration"
        )
    if target.options.get(HELD_INPUT, "closed") not in ("closed", "open"):
        raise ConfigError(f'{where}.{HELD_INPUT}: expected "closed" or "open"')
    if target.options.get(SHELL, "open") not in ("open", "gated"):
        raise ConfigError(f'{where}.{SHELL}: expected "open" or "gated"')
    forwards = target.options.get(FORWARDS, [])
    if not isinstance(forwards, list) or not all(isinstance(each, str) for each in forwards):
        raise ConfigError(f'{where}.{FORWARDS}: expected a list like ["db.internal:5432"]')
    input_kept(target)
    files_kept(target)
    check_outputs(target)
