"""XML on its way, with nothing shown but its shape.

Paths of rules are paths of JSON. So of XML all text and all values of attributes are replaced, and
only the names of elements and attributes, the nesting, and space between elements come out. It is
read by expat, which gets no chance to load or expand anything: a document type (without which there
are no entities but the five of XML itself) is refused. Comments and processing instructions are
left out.

What comes out is written anew, in UTF-8, with an XML declaration.
"""

from __future__ import annotations

from typing import Final
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from attrs import define, field

from hoopgw.documents.arrivals import Arrivals, fault
from hoopgw.documents.limits import Limits
from hoopgw.errors import DocumentError

_SLICE: Final = 4 * 2**10
"""Bytes for one piece: of four bytes at least is each element."""
_ATTRIBUTES: Final = 256
"""Attributes that an element may have."""
_REDACTED: Final = "***"
_DECLARATION: Final = '<?xml version="1.0" encoding="utf-8"?>'
_ENCODINGS: Final = {"utf-8", "us-ascii", "iso-8859-1", "utf-16"}
"""What expat itself reads."""


@define(eq=False, kw_only=True)
class XmlMasker:
    """Masks one XML document."""

    limits: Limits = field(factory=Limits)
    masked: int = field(default=0, init=False)
    counts: dict[str, int] = field(factory=dict, init=False)
    """Of nothing: counts go by path."""
    _arrived: Arrivals = field(init=False, repr=False)
    _out: list[str] = field(factory=list, init=False, repr=False)
    _depth: int = field(default=0, init=False)
    _in_text: bool = field(default=False, init=False)
    """Whether the text since the last tag was replaced already."""
    _done: bool = field(default=False, init=False)
    _failed: str | None = field(default=None, init=False)
    _parser: expat.XMLParserType = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._arrived = Arrivals(self.limits.total)
        parser = self._parser = expat.ParserCreate()
        parser.buffer_text = False
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text

    @property
    def received(self) -> int:
        """Bytes that were read."""
        return self._arrived.taken

    def receive_data(self, data: bytes) -> None:
        """Store what came."""
        self._arrived.put(data)

    def receive_end(self) -> None:
        """Note that nothing follows."""
        self._arrived.end()

    def next_piece(self) -> bytes | None:
        """Read a slice; see `hoopgw.documents.limits.Masker`."""
        if self._failed is not None:
            raise DocumentError(self._failed)
        try:
            return self._next_piece()
        except expat.ExpatError as error:
            no_xml = fault("it is no XML", self._parser.CurrentByteIndex)
            self._failed = str(no_xml)
            raise no_xml from error
        except DocumentError as error:
            self._failed = str(error)
            raise

    def _next_piece(self) -> bytes | None:
        if not self._arrived:
            if self._done or not self._arrived.is_ended:
                return None
            self._done = True
            if self._arrived.taken:
                self._parser.Parse(b"", True)
            return self._take()
        if not self._arrived.taken:
            self._out.append(_DECLARATION)
        data = self._arrived.take(_SLICE)
        self._parser.Parse(data, False)
        if self._arrived.taken - self._parser.CurrentByteIndex > self.limits.text:
            # A tag that does not end: expat holds it, and reads it again with each piece.
            raise fault(f"a tag is longer than {self.limits.text} bytes")
        return self._take()

    def _take(self) -> bytes:
        piece = "".join(self._out).encode("utf-8")
        self._out.clear()
        return piece

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            raise fault("its encoding is none of " + ", ".join(sorted(_ENCODINGS)))

    def _doctype(self, *_declared: object) -> None:
        raise fault("it has a document type")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._in_text = False
        self._depth += 1
        if self._depth > self.limits.depth:
            raise fault(f"it nests deeper than {self.limits.depth}")
        if len(attributes) > _ATTRIBUTES:
            raise fault(f"an element has more than {_ATTRIBUTES} attributes")
        if max(map(len, (name, *attributes))) > self.limits.name:
            raise fault(f"a name is longer than {self.limits.name} characters")
        self._out.append(f"<{name}")
        for each, value in attributes.items():
            shown = value
            if each != "xmlns" and not each.startswith("xmlns:"):
                # The name of a namespace is a part of the elements' names.
                shown = _REDACTED
                self.masked += 1
            self._out.append(f" {each}={quoteattr(shown)}")
        self._out.append(">")

    def _end(self, name: str) -> None:
        self._in_text = False
        self._depth -= 1
        self._out.append(f"</{name}>")

    def _text(self, text: str) -> None:
        if not text.isspace():
            if not self._in_text:
                self._out.append(_REDACTED)
                self.masked += 1
            self._in_text = True
        elif not self._in_text:
            self._out.append(text.replace("\r", ""))
