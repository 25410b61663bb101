"""Kubernetes behind hoopgw.

``protocol`` is what is announced under the entry-point group ``hoopgw.protocols``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hoopgw.spi import ProtocolSpec

    protocol: ProtocolSpec


def __getattr__(name: str) -> ProtocolSpec:
    """Make ``protocol`` once, when it is asked for."""
    if name != "protocol":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import resources

    from hoopgw.http.replay import replay
    from hoopgw.spi import ProtocolSpec
    from hoopgw_kubernetes.agent import make_target_leg
    from hoopgw_kubernetes.operations import check_target
    from hoopgw_kubernetes.sites import connecting, make_factory

    made = ProtocolSpec(
        name="kubernetes",
        default_port=6443,
        make_factory=make_factory,
        make_target_leg=make_target_leg,
        cedar_schema=resources.files(__name__).joinpath("schema.cedarschema").read_text("utf-8"),
        check_target=check_target,
        replay=replay,
        connecting=connecting,
    )
    globals()["protocol"] = made
    return made
