"""XML on its way: masked by path, or with nothing shown but its shape.

A path goes from the document through the names of elements, the root's first, without prefixes of
namespaces: ``EnumerationResults.Blobs.Blob.Name``. An attribute is a member called ``@name``.
Elements of one name are no array: one path is for all of them.

Paths are mostly written for JSON, and mean nothing here. So without rules that are made for XML all
text and all values of attributes are replaced: only the names of elements and attributes, the
nesting, and space between elements come out. Names of namespaces are a part of names.

It is read by expat, which gets no chance to load or expand anything: a document type (without which
there are no entities but the five of XML itself) is refused. Comments and processing instructions
are left out. What comes out is written anew, in UTF-8, with an XML declaration.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Final
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from attrs import define, field

from hoopgw.documents.arrivals import Arrivals, beyond, fault
from hoopgw.documents.automaton import DEAD, Effect, State
from hoopgw.documents.detectors import search
from hoopgw.documents.limits import Limits
from hoopgw.documents.rules import MaskStrings, Rule, Rules, compile_rules
from hoopgw.errors import DocumentError
from hoopgw.masking import mask_text

_SLICE: Final = 4 * 2**10
"""Bytes for one piece: of four bytes at least is each element."""
_ATTRIBUTES: Final = 256
"""Attributes that an element may have."""
_DECLARATION: Final = '<?xml version="1.0" encoding="utf-8"?>'
_ENCODINGS: Final = {"utf-8", "us-ascii", "iso-8859-1", "utf-16"}
"""What expat itself reads."""
_CONSTANT: Final = {"null", "redact", "year"}
"""Mask kinds for which it does not matter what a text says."""
_SPECIAL: Final = re.compile(r"[&<>\r]")
_RETURN: Final = {"\r": "&#13;"}
"""A return that is written as such would be read as a line's end."""


@cache
def _nothing_shown() -> Rules:
    return compile_rules([Rule("$", MaskStrings())])


@define(eq=False)
class _Element:
    """One that is open."""

    state: State
    texts: list[str] = field(factory=list, init=False)
    """What of its text has to be looked at as a whole, since the last tag."""
    size: int = field(default=0, init=False)
    says: bool = field(default=False, init=False)
    """Whether there is more than space in it."""
    hidden: int = field(default=0, init=False)
    """How deep it is inside of what is not shown: 0 is not at all, 1 is the masked element."""
    has_inside: bool = field(default=False, init=False)
    """Of a masked element: whether there are elements in it."""


@define(eq=False, kw_only=True)
class XmlMasker:
    """Masks one XML document.

    Args:
        rules: whose paths are of XML; without any nothing is shown.
        key: for tokens of the mask kind ``hash``.
        rewrite: see `hoopgw.documents.rules.Rewrite`.

    """

    rules: Rules | None = None
    key: bytes = field(default=b"", repr=False)
    rewrite: Callable[[str, str], str] | None = None
    limits: Limits = field(factory=Limits)
    masked: int = field(default=0, init=False)
    counts: dict[str, int] = field(factory=dict, init=False)
    _arrived: Arrivals = field(init=False, repr=False)
    _out: list[str] = field(factory=list, init=False, repr=False)
    _open: list[_Element] = field(factory=list, init=False, repr=False)
    """The document, and the elements that are open in it; of what is hidden, only the outermost."""
    _plain: _Element = field(factory=lambda: _Element(DEAD), init=False, repr=False)
    """Stands for every element about which nothing has to be decided, nor in which."""
    _dropped: int = field(default=0, init=False)
    """How deep it is inside of what is left out."""
    _done: bool = field(default=False, init=False)
    _failed: str | None = field(default=None, init=False)
    _parser: expat.XMLParserType = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._arrived = Arrivals(self.limits.total)
        self._open.append(_Element((self.rules or _nothing_shown()).start))
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
            self._met(self._open[0].state.effect)
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
        above = self._open[-1]
        inside = max(above.hidden - 1, 0) + self._dropped
        if len(self._open) + inside > self.limits.depth:
            raise fault(f"it nests deeper than {self.limits.depth}")
        if len(attributes) > _ATTRIBUTES:
            raise fault(f"an element has more than {_ATTRIBUTES} attributes")
        longest = max(map(len, attributes), default=0) if attributes else 0
        if max(len(name), longest) > self.limits.name:
            raise fault(f"a name is longer than {self.limits.name} characters")
        if self._dropped:
            self._dropped += 1
        elif above.hidden:
            above.hidden += 1
            above.has_inside = True
        elif above is self._plain and not attributes:
            self._open.append(above)
            self._out.append(f"<{name}>")
        else:
            self._begin(above, name, attributes)

    def _begin(self, above: _Element, name: str, attributes: dict[str, str]) -> None:
        """Write the begin of an element that is neither hidden nor left out."""
        self._flush(above)
        state = above.state.member(_local(name))[1]
        element, effect = self._plain if state is DEAD else _Element(state), state.effect
        self._met(effect)
        if effect.drop:
            self._dropped = 1
            self.masked += 1
            return
        whole = effect.whole
        if len(self._open) == 1:
            whole = whole or self._open[0].state.effect.whole
            if whole is not None:
                element = _Element(state)  # it is hidden, and so no other's
        self._out.append(f"<{name}")
        for each, value in attributes.items():
            self._attribute(element.state, each, value, whole)
        self._out.append(">")
        if whole is not None:
            element.hidden = 1
        self._open.append(element)

    def _attribute(self, state: State, name: str, value: str, whole: str | None) -> None:
        if name != "xmlns" and not name.startswith("xmlns:"):
            # The name of a namespace is a part of the elements' names.
            effect = state.member("@" + _local(name))[1].effect
            self._met(effect)
            if effect.drop:
                self.masked += 1
                return
            value = self._shown(effect, value, whole)
        self._out.append(f" {name}={quoteattr(value)}")

    def _end(self, name: str) -> None:
        element = self._open[-1]
        if self._dropped:
            self._dropped -= 1
            return
        if element is self._plain:
            self._open.pop()
            self._out.append(f"</{name}>")
            return
        if element.hidden > 1:
            element.hidden -= 1
            return
        self._flush(element)
        self._open.pop()
        self._out.append(f"</{name}>")

    def _text(self, text: str) -> None:
        if self._dropped:
            return
        element = self._open[-1]
        effect = element.state.effect
        if element is self._plain:
            self._out.append(text if _SPECIAL.search(text) is None else escape(text, _RETURN))
        elif element.hidden or effect.strings is not None or effect.reads_strings:
            self._collect(element, text)
        else:
            self._out.append(escape(text, _RETURN))

    def _collect(self, element: _Element, text: str) -> None:
        if element.has_inside or (element.says and self._kind(element) in _CONSTANT):
            return  # what stands for it is known
        element.size += len(text)
        if element.size > self.limits.text:
            raise fault(f"a text is longer than {self.limits.text} characters")
        element.texts.append(text)
        element.says = element.says or not text.isspace()

    def _kind(self, element: _Element) -> str | None:
        """Return the mask kind of an element's own text."""
        effect = element.state.effect
        if element.hidden and effect.whole is None:
            return self._open[0].state.effect.whole
        return effect.whole if element.hidden else effect.strings

    def _flush(self, element: _Element) -> None:
        """Write the text since the last tag, as it is shown."""
        if not element.texts and not (element.hidden and element.has_inside):
            return
        text = "".join(element.texts)
        element.texts.clear()
        says, element.says, element.size = element.says, False, 0
        if element.hidden and element.has_inside:
            self.masked += 1  # of what has elements in it, nothing is shown
        elif not says:
            self._out.append(text.replace("\r", ""))
        else:
            whole = self._kind(element) if element.hidden else None
            shown = self._shown(element.state.effect, text, whole)
            self._out.append(escape(shown, _RETURN))

    def _shown(self, effect: Effect, text: str, whole: str | None) -> str:
        """Return what stands for a text."""
        kind = whole or effect.strings
        if kind is not None:
            self.masked += 1
            return mask_text(kind, text, self.key) or ""
        shown = search(effect.detectors, text, self.key)
        if self.rewrite is not None:
            for path in effect.rewrites:
                shown = self.rewrite(path, shown)
        self.masked += shown != text
        return shown

    def _met(self, effect: Effect) -> None:
        """Refuse or count what was met."""
        if effect.refuse:
            raise fault(effect.refuse[0], self._parser.CurrentByteIndex)
        for name in effect.counts:
            count = self.counts[name] = self.counts.get(name, 0) + 1
            limit = self.limits.counts.get(name)
            if limit is not None and count > limit:
                raise beyond(f"it has more than {limit} {name}")


def _local(name: str) -> str:
    """Return a name without the prefix of its namespace."""
    return name.rpartition(":")[2]
