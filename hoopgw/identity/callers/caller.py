"""The seam of the types of issuers: what each adds to the checks that all tokens pass."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping

from attrs import field, frozen

from hoopgw.events import Attributes, HopKind
from hoopgw.identity.jose import Claims
from hoopgw.identity.settings import IssuerSettings


@frozen
class Problem:
    """What is wrong with the settings of an issuer of some type."""

    key: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.key} {self.found}: {self.expected}"


@frozen(kw_only=True)
class Caller:
    """Who a token stands for, as its type reads it."""

    subject: str
    """Stable and never given to another; the second part of the principal's id."""
    name: object = ""
    """For people to read; from the token, as it came."""
    kind: HopKind
    has_groups: bool = True
    """Whether the token's groups claim is the issuer's own word on this caller."""
    attributes: Mapping[str, str | Iterable[str] | None] = field(factory=dict)
    """For policy, as ``core.cedarschema`` names them; None and empty ones are left out."""
    origin: Mapping[str, str] = field(factory=dict)
    """For the recording."""
    persons: frozenset[str] = frozenset()
    """Subjects of the same issuer: the natural persons whom the caller acts for."""
    any_client: bool = False
    """Whether the token is taken whichever application it was made for."""


class CallerType(typing.Protocol):
    """What a type of issuer is."""

    def problems(self, settings: IssuerSettings) -> Iterable[Problem]:
        """Say what the settings lack, or have too much."""
        ...

    def read(self, claims: Claims, settings: IssuerSettings, *, is_id_token: bool) -> Caller:
        """Say who a token stands for, whose signature and times are good.

        Raises:
            AuthenticationError: it is not of those that the settings allow.

        """
        ...


def attributes(values: Mapping[str, str | Iterable[str] | None]) -> Attributes:
    """Return attributes in the form that `hoopgw.events.Hop` keeps."""
    found: list[tuple[str, str | tuple[str, ...]]] = []
    for name, value in sorted(values.items()):
        if isinstance(value, str) and value:
            found.append((name, value))
        elif value is not None and not isinstance(value, str) and (many := sorted(value)):
            found.append((name, tuple(many)))
    return tuple(found)
