"""How attacks on chains of delegation are made, and which check each runs into.

Each is made by a function of a `Family`, whose secrets an attacker may use as far as its name says.
`cut` names the one check that stands in its way, as the lines of ``hoopgw/identity/chains.py``;
`tests.adversarial.test_chains` takes it out, and shows that the attack would then succeed. Where
there is none, the attack meets several checks, or one of another module.
"""

from __future__ import annotations

import base64
import hmac
import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import evolve, field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hoopgw.events import Hop
from hoopgw.identity.hops import ALGORITHM, HOP_TYPE, POP_TYPE, part_hash, public_jwk
from hoopgw.identity.jose import encode_part
from hoopgw.identity.tokens import TokenSigner
from tests.identity.forge import NOW, claims, token
from tests.identity.lineage import ORDERS, Family, key

Cut = tuple[str, str]
"""Lines of the verifier, and what stands there instead when the check is taken out."""
Make = Callable[[Family], str]

GROUP_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
WEAK: Final = {"kty": "OKP", "crv": "Ed25519", "x": encode_part(b"\1" + bytes(31)).decode()}
"""The neutral element: a signature of it with zero is good for every message."""


@frozen
class Attack:
    """One."""

    name: str
    why: str
    """A part of what the log says of it."""
    make: Make = field(repr=False)
    cut: Cut | None = field(default=None, repr=False)


def never(line: str, body: str) -> Cut:
    """Return the cut of a condition with the error below it."""
    text = f"    {line}\n        raise AuthenticationError({body})\n"
    return text, ""


PRV: Final = never(
    'if claims.get("prv") != part_hash(before.part):', '"prv is not the part before"'
)
SIGNATURE: Final = ("    verify(signed, before.key, (ALGORITHM,))\n", "")
HEADER: Final = never(
    'if signed.header.keys() != {"typ", "alg"} or signed.header["typ"] != kind:',
    'f"the header is not exactly that of a {kind}"',
)
UNKNOWN: Final = never("if claims.keys() - needs - may:", '"a claim that is not known"')
END: Final = never(
    "if expires > before.principal.expires:", '"a hop ends after what it descends from"'
)
DEPTH: Final = never(
    "if before.nest < 1 or len(before.principal.chain) >= CHAIN_LIMIT:",
    '"the chain is longer than its root or a hop lets it be"',
)
OWN_KEY: Final = never(
    "if thumbprint in before.thumbprints:", '"a hop has the key of what it descends from"'
)
PROOF: Final[Cut] = (
    (
        "    elif holder is None or holder != reading.thumbprint:\n"
        '        raise AuthenticationError("nothing proves that the chain\'s last key is held")\n'
    ),
    "",
)
AUDIENCE: Final = never('if claims["aud"] != audience:', '"the pop is for something else"')
LONG_POP: Final[Cut] = (
    (
        '    if expires - moment(claims, "iat") > POP_LIFETIME:\n'
        '        raise AuthenticationError(f"the pop is good for more than {POP_LIFETIME:.0f} s")\n'
    ),
    "",
)
EXPIRED: Final = never("if expires <= now:", '"a part of the chain has expired"')
FUTURE: Final = never("if issued - LEEWAY > now:", '"a part of the chain was issued in the future"')
ORDER: Final = never("if issued >= expires:", '"the moments are not in order"')
KEY_MEMBERS: Final = never(
    'if not isinstance(jwk, dict) or jwk.keys() != {*_KEY, "x"}:',
    '"cnf.jwk is not exactly a public Ed25519 key"',
)
WEAK_KEY: Final = never(
    'if jwk["x"] in WEAK_KEYS:', '"cnf.jwk is a key with which anybody can sign"'
)
CONFIRMATION: Final = never(
    'if not isinstance(confirmation, dict) or confirmation.keys() != {"jwk"}:',
    '"cnf is not exactly a key"',
)
ROOT_KEY: Final = never(
    "if thumbprint != root.thumbprint:", '"the root is bound to another key than it names"'
)
ROOT_NAME: Final = never(
    "if SEPARATOR in root.principal.root.id:",
    '"the root\'s name could be taken for that of a child"',
)
NAME: Final = never(
    "if not isinstance(name, str) or not NAME.fullmatch(name):", '"name is not as it should be"'
)
ISOLATED: Final = never(
    "if not isinstance(isolated, bool):", '"isolated is neither true nor false"'
)
PARTS: Final[Cut] = (
    (
        "    if len(others) >= PARTS_LIMIT:\n"
        '        raise AuthenticationError(f"a chain of {len(others) + 1} parts")\n'
    ),
    "",
)
NEST: Final[Cut] = (
    (
        "    if type(nest) is not int or not 0 <= nest < PARTS_LIMIT:  # JSON's true is no number\n"
        '        raise AuthenticationError("nest is not a number as it should be")\n'
    ),
    "",
)
PURPOSE: Final = ('purpose = text(claims, "purpose") if', 'purpose = claims.get("purpose") if')
CAPS_COUNT: Final = (" or len(values) > CAPS_LIMIT", "")
ACTIONS_COUNT: Final = ("not 0 < len(actions) <= ACTIONS_LIMIT", "not len(actions)")
CAP_MEMBERS: Final = never(
    'if not isinstance(value, dict) or value.keys() != {"target", "actions"}:',
    '"a cap is not exactly target and actions"',
)
TARGET: Final = never(
    "if not isinstance(target, str) or not TARGET.fullmatch(target):",
    '"a cap\'s target is not as it should be"',
)
ACTION: Final[Cut] = (
    (
        "    if not all(isinstance(action, str) and ACTION.fullmatch(action) for action in "
        "actions):\n"
        '        raise AuthenticationError("a cap\'s action is not as it should be")\n'
    ),
    "",
)


def hop(cut: Cut | None = None, **changes: Any) -> tuple[Make, Cut | None]:
    """Return an attack by a parent: a hop for the planner with claims of its choice, and a pop."""

    def make(family: Family) -> str:
        forged = family.forged(family.root(), "alice", "planner", **changes)
        return family.forged_pop(forged, "planner")

    return make, cut


def pop(cut: Cut | None = None, **changes: Any) -> tuple[Make, Cut | None]:
    """Return an attack by a holder: a pop with claims of its choice."""
    return lambda f: f.forged_pop(f.chain("alice", "planner"), "planner", **changes), cut


def jwk(cut: Cut | None = None, **members: Any) -> tuple[Make, Cut | None]:
    """Return an attack by a parent: a key for the child that is none."""
    given = {name: value for name, value in members.items() if value is not None}
    return hop(cut, cnf={"jwk": given})


def header(members: Mapping[str, Any]) -> Make:
    """Return an attack by a parent: a hop with a header of its choice."""
    return hop(header={"typ": HOP_TYPE, "alg": ALGORITHM, **members})[0]


def replaced(family: Family, number: int, part: str) -> str:
    """Return a good password with one part replaced."""
    parts = family.shown(family.chain("alice", "planner"), "planner").split("~")
    parts[number] = part
    return "~".join(parts)


def json_hop(family: Family, text: str, head: str = "") -> str:
    """Return a chain whose hop holds this very JSON, signed by the parent, and a pop."""
    body = text.replace("PRV", part_hash(family.root()))
    signed = b".".join(
        encode_part(each.encode())
        for each in (head or json.dumps({"typ": HOP_TYPE, "alg": ALGORITHM}), body)
    )
    made = signed + b"." + encode_part(signature("alice", signed))
    return family.forged_pop(f"{family.root()}~{made.decode()}", "planner")


def signature(who: str, data: bytes) -> bytes:
    """Sign bytes with the key of that name."""
    private = key(who).private_key
    assert isinstance(private, Ed25519PrivateKey)
    return private.sign(data)


def stretched(family: Family) -> str:
    """Return a chain whose hop's signature has the group's order added: the same to bad maths."""
    chain = family.chain("alice", "planner")
    body, _, signature = chain.rpartition(".")
    data = bytearray(decoded(signature))
    scalar = int.from_bytes(data[32:], "little") + GROUP_ORDER
    data[32:] = scalar.to_bytes(32, "little")
    return family.forged_pop(f"{body}.{encode_part(bytes(data)).decode()}", "planner")


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def weak_pop(family: Family) -> str:
    """Return a chain to a child with a weak key, and a pop that nobody's key has signed."""
    forged = family.forged(family.root(), "alice", "planner", cnf={"jwk": WEAK})
    claims_: dict[str, Any] = {
        "prv": part_hash(forged.rpartition("~")[2]),
        "aud": ORDERS,
        "jti": "p",
    }
    claims_ |= {"iat": int(NOW), "exp": int(NOW) + 60}
    signed = b".".join(
        encode_part(json.dumps(each).encode())
        for each in ({"typ": POP_TYPE, "alg": ALGORITHM}, claims_)
    )
    nothing = encode_part(b"\1" + bytes(63))
    return f"{forged}~{(signed + b'.' + nothing).decode()}"


def symmetric(family: Family) -> str:
    """Return a hop signed with HS256, the parent's public key as the secret."""
    given = family.claims(family.root(), "planner")
    secret = decoded(public_jwk(key("alice"))["x"])
    members = {"typ": HOP_TYPE, "alg": "HS256"}
    signed = b".".join(encode_part(json.dumps(each).encode()) for each in (members, given))
    mac = encode_part(hmac.digest(secret, signed, "sha256"))
    return family.forged_pop(f"{family.root()}~{(signed + b'.' + mac).decode()}", "planner")


def other_gateway(url: str, name: str) -> Make:
    """Return a chain whose root another gateway has signed, or this one with another key."""

    def make(family: Family) -> str:
        other = Family(TokenSigner(key(name), url))
        return other.shown(other.chain("alice", "planner"), "planner")

    return make


def dropped(family: Family) -> str:
    """Return a chain out of which a child has taken its parent, who narrowed it."""
    chain = family.chain("alice", "planner", "migrator").split("~")
    return family.forged_pop(f"{chain[0]}~{chain[2]}", "migrator")


def spliced(family: Family) -> str:
    """Return one's own hop behind the hop of somebody whose key one has not."""
    mine, theirs = family.chain("alice", "x", "y").split("~"), family.chain("alice", "planner")
    return family.forged_pop(f"{theirs}~{mine[2]}", "y")


def another_root(family: Family) -> str:
    """Return a hop behind a root of its parent's that it was not made for: one that lasts."""
    hop_ = family.chain("alice", "planner").split("~")[1]
    return family.forged_pop(f"{family.root(id='a later one')}~{hop_}", "planner")


def swapped(family: Family) -> str:
    """Return a hop whose key a child has replaced by one that it likes better."""
    root, hop_ = family.chain("alice", "planner").split("~")
    head, body, signature = hop_.split(".")
    said = json.loads(decoded(body))
    said["cnf"] = {"jwk": public_jwk(key("mallory"))}
    forged = encode_part(json.dumps(said).encode()).decode()
    return family.forged_pop(f"{root}~{head}.{forged}.{signature}", "mallory")


def widened(family: Family) -> str:
    """Return a hop out of which a child has taken its caps."""
    root, narrow = family.forged(family.root(), "alice", "planner", caps=[]).split("~")
    head, body, signature = narrow.split(".")
    said = {k: v for k, v in json.loads(decoded(body)).items() if k != "caps"}
    forged = encode_part(json.dumps(said).encode()).decode()
    return family.forged_pop(f"{root}~{head}.{forged}.{signature}", "planner")


def signed_by(signer: str) -> Make:
    """Return a hop below the planner that somebody else has signed."""

    def make(family: Family) -> str:
        chain = family.chain("alice", "planner")
        return family.forged_pop(family.forged(chain, signer, "migrator"), "migrator")

    return make


def pop_by(holder: str) -> Make:
    """Return a chain with a pop of somebody else."""
    return lambda family: family.forged_pop(family.chain("alice", "planner"), holder)


def deep(family: Family) -> str:
    """Return a child's child's child's child."""
    return family.shown(family.chain("alice", "a", "b", "c", "d"), "d")


def nested(first: Any, **second: Any) -> Make:
    """Return a hop with a ``nest``, and a hop behind it."""

    def make(family: Family) -> str:
        chain = family.forged(family.root(), "alice", "planner", nest=first)
        return family.forged_pop(family.forged(chain, "planner", "b", **second), "b")

    return make


def raised(family: Family) -> str:
    """Return a chain in which a child with nothing left gives itself more."""
    chain = family.forged(family.root(nest=1), "alice", "planner", nest=5)
    return family.forged_pop(family.forged(chain, "planner", "b"), "b")


def outliving(family: Family) -> str:
    """Return a child that lasts longer than its parent."""
    chain = family.forged(family.root(), "alice", "planner", exp=int(NOW) + 60)
    return family.forged_pop(family.forged(chain, "planner", "b", exp=int(NOW) + 61), "b")


def own_key(names: tuple[str, ...]) -> Make:
    """Return a chain in which a key comes twice."""

    def make(family: Family) -> str:
        chain = family.root(names[0])
        for parent, child in itertools.pairwise(names):
            chain = family.forged(chain, parent, child, name="x")
        return family.forged_pop(chain, names[-1])

    return make


def rooted(**changes: Any) -> Make:
    """Return a chain whose root the gateway signed so."""
    return lambda f: f.forged_pop(f.forged(f.root(**changes), "alice", "planner"), "planner")


def named_like_a_child(family: Family) -> str:
    """Return the chain of a person whose name is that of another's agent."""
    mallory = Hop(id="corp|alice-1~planner", name="Mallory", kind="person")
    root = family.root()
    principal = evolve(family.verifier.read(root, "hoopgw", NOW).principal, chain=(mallory,))
    return rooted(principal=principal)(family)


def provider_token(family: Family) -> str:
    """Return a hop behind the identity provider's token."""
    root = token(claims(cnf={"jwk": public_jwk(key("alice"))}))
    return family.forged_pop(family.forged(root, "alice", "planner"), "planner")


def one_part_twice(family: Family) -> str:
    """Return a chain with a hop twice."""
    root, part = family.chain("alice", "planner").split("~")
    return family.forged_pop(f"{root}~{part}~{part}", "planner")
