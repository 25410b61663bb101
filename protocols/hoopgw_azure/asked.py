"""One request to Azure, as the readers of this package take it."""

from __future__ import annotations

from attrs import field, frozen

from hoopgw.http.messages import NO_HEADERS, Headers
from hoopgw.http.path import LocatorError, locate
from hoopgw_azure.calls import Query
from hoopgw_azure.errors import UnclearRequestError


@frozen(kw_only=True)
class Asked:
    """A request whose path and query were decoded, once, and are not ambiguous."""

    method: str
    segments: tuple[str, ...]
    """Of the path, without an empty one at its end."""
    slash: bool = False
    """Whether the path ended in ``/``; the root's own slash does not matter."""
    query: Query = field(default=(), repr=False)
    target: str = field(default="", repr=False)
    """What is sent: the path in its one encoding, and the query as it came."""
    headers: Headers = NO_HEADERS
    body: bytes = field(default=b"", repr=lambda body: f"<{len(body)} bytes>")

    @classmethod
    def of(cls, method: str, target: str, headers: Headers, body: bytes = b"") -> Asked:
        """Return a request whose target is as it was sent.

        Raises:
            UnclearRequestError: its path or query could be read in more than one way.

        """
        try:
            found = locate(target)
        except LocatorError as error:
            raise UnclearRequestError(str(error)) from error
        return cls(
            method=method,
            segments=found.segments,
            slash=found.slash,
            query=found.query,
            target=found.target,
            headers=headers,
            body=body,
        )

    @property
    def media_type(self) -> str:
        """What the body says to be, in lower case, without parameters.

        Raises:
            UnclearRequestError: it says so twice, or it is compressed.

        """
        if self.header(b"content-encoding"):
            raise UnclearRequestError("send the body without Content-Encoding: it is read here")
        return self.header(b"content-type").partition(";")[0].strip().lower()

    def header(self, name: bytes) -> str:
        """Return a header field that may be there once; nothing if it is not there.

        Raises:
            UnclearRequestError: it is there more than once, or is not ASCII.

        """
        values = self.headers.all(name)
        if len(values) > 1:
            raise UnclearRequestError(f"the header {name.decode()} is there more than once")
        try:
            return values[0].decode("ascii") if values else ""
        except UnicodeDecodeError as error:
            raise UnclearRequestError(f"the header {name.decode()} is not ASCII") from error

    def parameter(self, name: str) -> str | None:
        """Return a parameter of the query that may be there once; None if it is not there.

        Raises:
            UnclearRequestError: it is there more than once.

        """
        found = [value for key, value in self.query if key.lower() == name]
        if len(found) > 1:
            raise UnclearRequestError(f"the query has {name} more than once")
        return found[0] if found else None
