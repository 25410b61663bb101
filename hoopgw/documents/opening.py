"""Which masker an answer needs, by its header fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from email.message import Message
from functools import lru_cache
from typing import Literal

from attrs import define, field, frozen

from hoopgw.documents.arrivals import fault
from hoopgw.documents.encodings import Decoder, decoder
from hoopgw.documents.json_masker import JsonMasker
from hoopgw.documents.limits import Limits, Masker
from hoopgw.documents.rules import Rules
from hoopgw.documents.text_masker import TextMasker
from hoopgw.documents.xml_masker import XmlMasker

_JSON = {"application/json", "text/json"}
_LINES = {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonl"}
_XML = {"application/xml", "text/xml"}
_CHARSETS = {"", "utf-8", "utf8", "us-ascii"}
_USUAL = 128
"""Characters of a content type; longer ones are read anew each time."""
_REMEMBERED = 256
"""Content types whose reading is kept."""


@frozen(kw_only=True)
class MaskingOrder:
    """How the answer to one operation is masked: decided by the request, not by the answer."""

    rules: Rules
    paths: Literal["json", "xml"] = "json"
    """What the rules' paths are of. Those of JSON mean nothing in XML, of which nothing is shown
    then; those of XML mean nothing elsewhere, so what is no XML is refused."""
    key: bytes = field(default=b"", repr=False)
    """For tokens of the mask kind ``hash``."""
    rewrite: Callable[[str, str], str] | None = None
    """See `hoopgw.documents.rules.Rewrite`."""
    limits: Limits = field(factory=Limits)


def open_document(
    order: MaskingOrder, content_type: str | None, content_encoding: str = ""
) -> Document:
    """Return what masks an answer with these header fields.

    It comes out without a content encoding, and of another length: drop ``Content-Encoding``,
    ``Content-Length``, ``Content-MD5``, ``Digest``, ``ETag`` and ``Accept-Ranges`` from its header.

    Raises:
        DocumentError: an answer of this type or encoding cannot be masked.

    """
    return Document(_masker(order, content_type), decoder(content_encoding, order.limits))


def has_lines(content_type: str | None) -> bool:
    """Whether an answer of this type is a document in each line."""
    media, parameters = _parsed(content_type)
    is_json = media in _JSON or media.endswith("+json")
    return media in _LINES or (is_json and parameters.get("stream") == "watch")


def opens_as_json(content_type: str | None) -> bool:
    """Whether an answer of this type can be opened, and is read as JSON."""
    media, parameters = _parsed(content_type)
    is_json = media in _JSON or media.endswith("+json")
    return is_json and parameters.get("charset", "").lower() in _CHARSETS


def _masker(order: MaskingOrder, content_type: str | None) -> Masker:
    media, parameters = _parsed(content_type)
    if parameters.get("charset", "").lower() not in _CHARSETS and media not in _XML:
        raise fault("its charset is not UTF-8")
    is_xml = media in _XML or media.endswith("+xml")
    if order.paths == "xml":
        if not is_xml:
            raise fault("it is not XML by its content type")
        return XmlMasker(
            rules=order.rules, key=order.key, rewrite=order.rewrite, limits=order.limits
        )
    is_json = media in _JSON or media.endswith("+json")
    if is_json or media in _LINES:
        return JsonMasker(
            rules=order.rules,
            key=order.key,
            rewrite=order.rewrite,
            limits=order.limits,
            lines=has_lines(content_type),
        )
    if order.limits.counts:
        raise fault("it is not JSON, so what is limited in it cannot be counted")
    if media == "text/plain":
        return TextMasker(rules=order.rules, key=order.key, limits=order.limits)
    if is_xml:
        return XmlMasker(limits=order.limits)
    raise fault("it is not JSON, XML or plain text by its content type")


def _parsed(content_type: str | None) -> tuple[str, Mapping[str, str]]:
    """Return the media type in small letters, and its parameters (RFC 9110, section 8.3)."""
    if content_type is None or "," in content_type or not content_type.isascii():
        return "", {}
    return (_remembered if len(content_type) <= _USUAL else _read)(content_type)


def _read(content_type: str) -> tuple[str, Mapping[str, str]]:
    message = Message()
    message["content-type"] = content_type
    pairs = message.get_params([])
    names = [name.lower() for name, _ in pairs]
    if not pairs or len(set(names)) != len(names):
        return "", {}
    return names[0], {name.lower(): str(value) for name, value in pairs[1:]}


_remembered = lru_cache(_REMEMBERED)(_read)


@define(eq=False)
class Document:
    """A decoder and a masker, one after the other: a `hoopgw.documents.limits.Masker` itself."""

    masker: Masker
    _decoder: Decoder | None
    _ended: bool = field(default=False, init=False)
    _passed_end: bool = field(default=False, init=False)

    @property
    def masked(self) -> int:
        """Values that were replaced until now."""
        return self.masker.masked

    @property
    def received(self) -> int:
        """Bytes that were read until now, without a content encoding."""
        return self.masker.received

    @property
    def counts(self) -> Mapping[str, int]:
        """Values that were counted until now."""
        return self.masker.counts

    def receive_data(self, data: bytes) -> None:
        """Store what came."""
        (self._decoder or self.masker).receive_data(data)

    def receive_end(self) -> None:
        """Note that nothing follows."""
        (self._decoder or self.masker).receive_end()
        self._ended = True

    def next_piece(self) -> bytes | None:
        """Decode or mask a slice; see `hoopgw.documents.limits.Masker`."""
        piece = self.masker.next_piece()
        if piece is not None or self._decoder is None:
            return piece
        plain = self._decoder.next_piece()
        if plain is not None:
            self.masker.receive_data(plain)
            return b""
        if self._ended and not self._passed_end:
            self._passed_end = True
            self.masker.receive_end()
            return self.masker.next_piece()
        return None
