"""SSH behind hoopgw.

``protocol`` is what is announced under the entry-point group ``hoopgw.protocols``. It is made when
it is asked for: whoever needs one module of this package does not load all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hoopgw.spi import ProtocolSpec

    protocol: ProtocolSpec


def __getattr__(name: str) -> ProtocolSpec:
    """Make ``protocol`` once."""
    if name != "protocol":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import resources

    from hoopgw.spi import ProtocolSpec
    from hoopgw_ssh.agent import make_target_leg
    from hoopgw_ssh.gateway import make_factory
    from hoopgw_ssh.operations import connecting
    from hoopgw_ssh.replay import replay
    from hoopgw_ssh.settings import check_listener, check_target

    made = ProtocolSpec(
        name="ssh",
        default_port=22,
        make_factory=make_factory,
        make_target_leg=make_target_leg,
        cedar_schema=resources.files(__name__).joinpath("schema.cedarschema").read_text("utf-8"),
        check_target=check_target,
        check_listener=check_listener,
        replay=replay,
        connecting=connecting,
        freezes=True,
    )
    globals()["protocol"] = made
    return made
