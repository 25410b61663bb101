"""Detectors: patterns of secrets inside of texts, for where no path says what is one.

They are a second net and no proof: what is encoded once more, cut in pieces, or of no known form
passes. Each pattern takes time linear in the text (where a run of characters could begin a match,
it is read once: by a look-behind, or by possessive repetition), which the tests hold.

=====================  ===========================================================================
``jwt``                JSON Web Tokens, signed or encrypted
``private_key``        private keys in PEM and OpenSSH form, to their end; PuTTY's and age's
``pem``                any PEM block, also in base64 (a kubeconfig's certificates and keys)
``connection_string``  what stands after ``AccountKey=``, ``SharedAccessKey=``, ``Password=`` ...,
                       and passwords in URLs
``sas``                signatures of shared access: ``sig=`` in a query, ``SharedAccessSignature``
``email``              e-mail addresses
``card``               payment cards: 13 to 19 digits with the right check digit
``aws_key``            AWS access key ids
``github_token``       GitHub's tokens
``slack_token``        Slack's tokens, and addresses of its webhooks
``ssn``                social security numbers of the USA, with hyphens
=====================  ===========================================================================

Each has two forms: for texts that are there in whole, and for streams (`hoopgw.streams`), bounded,
of bytes. The second takes what terminals show in place of what documents hold: ``password: x``, a
private key that breaks off.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import field, frozen

from hoopgw.masking import mask_text

REDACTED: Final = "***"
SEARCHED: Final = 16 * 2**10
"""Characters of a text in which single secrets are looked for: some milliseconds at worst. Of a
longer one with a hint, all is masked."""
_PART: Final = 10
"""Characters of each of a token's first two parts, at least."""


@frozen(eq=False)
class Detector:
    """One kind of secret."""

    name: str
    hints: tuple[str, ...]
    """Patterns of which one is found in every text that holds such a secret, in small letters, and
    that are seldom found elsewhere. They are looked for in many strings at once: so they match no
    quote, and each begins with a fixed text where it can, because such are found fastest."""
    pattern: re.Pattern[str] = field(repr=False)
    """The secret; only its named group, where it has one."""
    stream: str = field(repr=False)
    """The same in a stream; see `hoopgw.streams.mask_patterns`."""
    accept: Callable[[str], bool] = field(default=lambda found: True, repr=False)
    """Looks at what was found a second time."""
    _hinted: re.Pattern[str] = field(init=False, repr=False)

    @_hinted.default
    def _join(self) -> re.Pattern[str]:
        return re.compile("|".join(self.hints))

    def may_find(self, small: str) -> bool:
        """Say whether a text, given in small letters, has a hint."""
        return self._hinted.search(small) is not None

    def replace(self, text: str, kind: str, key: bytes) -> str:
        """Return a text with each secret replaced by what a mask kind makes of it."""
        return self.pattern.sub(lambda match: self._shown(match, kind, key), text)

    def _shown(self, match: re.Match[str], kind: str, key: bytes) -> str:
        whole = match.group()
        if not self.accept(whole):
            return whole
        start, end = (place - match.start() for place in match.span(match.lastgroup or 0))
        shown = mask_text(kind, whole[start:end], key)
        return whole[:start] + (REDACTED if shown is None else shown) + whole[end:]


def search(detectors: Sequence[tuple[Detector, str]], text: str, key: bytes) -> str:
    """Return a text with what detectors find in it masked, each by its kind."""
    if len(text) > SEARCHED:
        small = text.lower()
        if any(detector.may_find(small) for detector, _ in detectors):
            return REDACTED
        return text
    for detector, kind in detectors:
        text = detector.replace(text, kind, key)
    return text


def _is_jwt(run: str) -> bool:
    """Say whether a dotted run holds a part with the beginning of a JOSE header, and one after."""
    parts = run.split(".")
    return any(
        len(payload) >= _PART and len(header) - header.find("eyJ") >= _PART and "eyJ" in header
        for header, payload in itertools.pairwise(parts)
    )


def is_card(digits: str) -> bool:
    """Say whether digits, maybe parted by spaces or hyphens, are a card's number (ISO/IEC 7812)."""
    plain = [ord(character) - 48 for character in digits if character.isdigit()]
    doubled = (digit * 2 - 9 * (digit > 4) for digit in plain[-2::-2])
    return 13 <= len(plain) <= 19 and any(plain) and (sum(plain[-1::-2]) + sum(doubled)) % 10 == 0


_KEYS: Final = (
    "AccountKey|SharedAccessKey|SharedAccessSignature|SharedSecretValue|AccessKey|ApiKey|"
    "ClientSecret|Client_Secret|Password|Passwd|Pwd"
)
_USERINFO: Final = r"://[^/\s:@\"]*+:(?P<password>[^@/\s\"]++)@"
"""In a URL."""
_NAMES: Final = (
    "account_?key|access_?key|api[_-]?key|client_?secret|secret_?value|passw(?:or)?d|passphrase"
)
_WORD: Final = r"[\w\x80-\xff.%+'-]"
_LABEL: Final = r"[\w\x80-\xff-]{1,63}+"
_BODY: Final = (
    r"(?:\s{1,4}+[A-Za-z-]{1,20}+: [^\r\n]{0,100}+){0,6}+"
    r"(?:[A-Za-z0-9+/=\s\x22',:|>#*;$\x5c]|-(?!----)){0,14000}+(?:-----END [^-]{0,60}+-----)?"
)
"""Of PEM, in streams: headers; lines, also with what programs put around each; the end."""
_AWS: Final = r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"
_GITHUB: Final = (
    r"(?<![A-Za-z0-9_])(?:gh[pousr]_[A-Za-z0-9]{36,251}+|github_pat_[A-Za-z0-9_]{22,244}+)"
)
_SLACK: Final = (
    r"(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{10,250}+|hooks\.slack\.com/services/[A-Za-z0-9/]{20,80}+"
)
_SSN: Final = r"(?<![0-9-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![0-9-])"
_SEALED: Final = r"PuTTY-User-Key-File-[\s\S]*|AGE-SECRET-KEY-[A-Z0-9]+"
_ALL: Final = (
    Detector(
        "jwt",
        ("eyj",),
        re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]*+)++", re.ASCII),
        r"eyJ[A-Za-z0-9_-]{7,2045}+\.[A-Za-z0-9_-]{10,6144}+(?:\.[A-Za-z0-9_-]{0,2048}+){0,3}+",
        _is_jwt,
    ),
    Detector(
        "private_key",
        ("private key", "putty-user", "age-secret"),
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----[\s\S]*?"
            rf"(?:-----END [^-]{{0,60}}-----|\Z)|{_SEALED}"
        ),
        rf"-----BEGIN [A-Z0-9 ]{{0,40}}PRIVATE KEY[A-Z ]{{0,10}}-----{_BODY}"
        r"|Private-Lines: [0-9]{1,4}\s{1,4}+[A-Za-z0-9+/=\s]{0,12000}+"
        r"|AGE-SECRET-KEY-[A-Z0-9]{1,100}+",
    ),
    Detector(
        "pem",
        ("-----begin ", "ls0tls1crudjti"),
        re.compile(
            r"-----BEGIN [^-]{0,60}-----[\s\S]*?(?:-----END [^-]{0,60}-----|\Z)"
            r"|LS0tLS1CRUdJTi[A-Za-z0-9+/=\r\n]*+"
        ),
        rf"-----BEGIN [^-]{{0,60}}+-----{_BODY}|LS0tLS1CRUdJTi[A-Za-z0-9+/=]{{0,14000}}+"
        r"(?:\r?\n[A-Za-z0-9+/=]{60,76}+){0,20}+",
    ),
    Detector(
        "connection_string",
        (*_KEYS.lower().split("|"), _USERINFO),
        re.compile(rf"(?ai:{_KEYS}) ?= ?(?P<secret>[^;\"'\s]++)|{_USERINFO}"),
        rf"(?i:(?:{_NAMES})[\x22']?[ \t]?[=:][ \t]?(?:\x22(?P<text>[^\x22\r\n]{{1,256}}+)"
        r"|'(?P<quoted>[^'\r\n]{1,256}+)|(?P<secret>[^\s;\x22'&]{1,256}+))"
        r"|;pwd=(?P<pwd>[^\s;\x22'&]{1,256}+))"
        r"|://[^/\s:@\x22]{0,128}+:(?P<password>[^@/\s\x22]{1,256}+)@",
    ),
    Detector(
        "sas",
        ("sig=", "sig%3d", "sharedaccesssignature"),
        re.compile(
            r"(?ai:(?:(?:(?<![A-Za-z0-9])|(?<=%3f)|(?<=%26))sig(?:=|%3d))(?P<secret>[^&\s\"';]++)"
            r"|SharedAccessSignature[ =]++[^\"'\s;]++)"
        ),
        r"(?i:(?:(?<![A-Za-z0-9])|(?<=%3f)|(?<=%26))sig(?:=|%3d)(?P<secret>[^&\s\x22';]{1,256}+)"
        r"|SharedAccessSignature[ =]{1,3}+(?P<all>[^\x22'\s;]{1,1024}+))",
    ),
    Detector(
        "email",
        ("@",),
        re.compile(r"(?<![\w.%+'-])[\w.%+'-]++@[\w-]++(?:\.[\w-]++)++"),
        rf"(?<!{_WORD}){_WORD}{{1,64}}+@{_LABEL}(?:\.{_LABEL}){{1,4}}+",
    ),
    Detector(
        "card",
        (r"[0-9]{4}(?:[0-9]{9}|[ -][0-9]{4}[ -][0-9]{4}|[ -][0-9]{6}[ -])",),
        re.compile(
            r"(?<![0-9])(?:[0-9]{13,19}+|[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}+"
            r"|[0-9]{4}([ -])[0-9]{6}\2[0-9]{5})(?![0-9])"
        ),
        r"(?<![0-9])(?:[0-9]{13,19}+|[0-9]{4} [0-9]{4} [0-9]{4} [0-9]{1,7}+"
        r"|[0-9]{4}-[0-9]{4}-[0-9]{4}-[0-9]{1,7}+|[0-9]{4} [0-9]{6} [0-9]{5}"
        r"|[0-9]{4}-[0-9]{6}-[0-9]{5})(?![0-9])",
        is_card,
    ),
    Detector("aws_key", ("akia", "asia"), re.compile(_AWS), _AWS),
    Detector("github_token", ("gh[pousr]_", "github_pat_"), re.compile(_GITHUB), _GITHUB),
    Detector("slack_token", ("xox[abeoprs]-", "xapp-", "hooks.slack"), re.compile(_SLACK), _SLACK),
    Detector("ssn", ("[0-9]{3}-[0-9]{2}-[0-9]{4}",), re.compile(_SSN), _SSN),
)
DETECTORS: Final[Mapping[str, Detector]] = {detector.name: detector for detector in _ALL}
