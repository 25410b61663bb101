"""Attacks on chains by their form, their keys and the order of their parts.

See `tests.adversarial.chain_forging`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from joserfc.jwk import ECKey

from hoopgw.identity.hops import ALGORITHM, HOP_TYPE, part_hash, public_jwk
from hoopgw.identity.jose import sign
from tests.adversarial.chain_forging import (
    CONFIRMATION,
    DEPTH,
    HEADER,
    KEY_MEMBERS,
    OWN_KEY,
    PROOF,
    PRV,
    ROOT_KEY,
    ROOT_NAME,
    SIGNATURE,
    WEAK_KEY,
    Attack,
    Make,
    another_root,
    deep,
    dropped,
    header,
    hop,
    json_hop,
    jwk,
    named_like_a_child,
    one_part_twice,
    other_gateway,
    own_key,
    pop_by,
    provider_token,
    replaced,
    rooted,
    signed_by,
    spliced,
    stretched,
    swapped,
    symmetric,
    weak_pop,
    widened,
)
from tests.identity.forge import NOW, hmac_token, raw
from tests.identity.lineage import ORDERS, SESSION, URL, Family, key


def attacks() -> Iterator[Attack]:
    """Yield all of these."""
    yield from _format()
    yield from _headers()
    yield from _json()
    yield from _order()
    yield from _keys()
    yield from _roots()


def _format() -> Iterator[Attack]:
    good: Make = lambda f: f.shown(f.chain("alice", "planner"), "planner")  # noqa: E731
    yield Attack("a megabyte", "characters", lambda f: good(f) + "~" + "A" * 2**20)
    yield Attack("one character too many", "characters", lambda f: good(f).ljust(16385, "A"))
    yield Attack("nothing but separators", "parts", lambda f: "~" * 16_000)
    yield Attack("a seventh part", "7 parts", lambda f: good(f) + "~x" * 4)
    yield Attack("nothing at all", "parts", lambda f: "")
    yield Attack("an empty part", "parts", lambda f: good(f).replace("~", "~~", 1))
    yield Attack("a separator at the end", "parts", lambda f: good(f) + "~")
    yield Attack("a separator at the begin", "parts", lambda f: "~" + good(f))
    yield Attack("a space in front", "base64url|JSON", lambda f: good(f).replace("~", "~ "))
    yield Attack("a line break", "base64url", lambda f: good(f) + "\n")
    yield Attack("a NUL", "base64url", lambda f: good(f) + "\0")
    yield Attack("a letter of another script", "outside ASCII", lambda f: good(f) + "А")  # noqa: RUF001
    yield Attack("padding", "base64url", lambda f: good(f) + "=")
    yield Attack("two dots more", "5 parts", lambda f: good(f) + ".x.y")
    yield Attack("only a root", "nothing proves", lambda f: f.root(), PROOF)
    yield Attack("only a hop", "gateway token", lambda f: good(f).split("~")[1])
    yield Attack("another spelling of the last character", "stray bits|wrong", _stray)


def _stray(family: Family) -> str:
    text = family.shown(family.chain("alice", "planner"), "planner")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


def _headers() -> Iterator[Attack]:
    yield Attack("a kid", "header", header({"kid": "x"}), HEADER)
    yield Attack("a key in the header", "header", header({"jwk": public_jwk(key("x"))}), HEADER)
    yield Attack("a key set's address", "header", header({"jku": "https://evil.example"}), HEADER)
    yield Attack("an unknown critical member", r"\['crit'\]", header({"crit": ["exp"]}))
    yield Attack("unencoded content", r"\['b64'\]", header({"b64": False}))
    yield Attack("compressed content", r"\['zip'\]", header({"zip": "DEF"}))
    yield Attack("no type", "header", hop(header={"alg": ALGORITHM})[0])
    yield Attack("another type", "header", header({"typ": "JWT"}), HEADER)
    yield Attack("the root's type", "header", header({"typ": "at+jwt"}), HEADER)
    yield Attack("a type in capitals", "header", header({"typ": HOP_TYPE.upper()}), HEADER)
    yield Attack("a list of types", "header", header({"typ": [HOP_TYPE]}), HEADER)
    yield Attack("alg none", "not allowed", _unsigned)
    yield Attack("HS256 with the public key", "alg 'HS256' is not allowed", symmetric)
    yield Attack("ES256 with a key of that kind", "alg 'ES256' is not allowed", _elliptic)
    yield Attack("the newer name of the algorithm", "not allowed", header({"alg": "Ed25519"}))
    yield Attack("a stretched signature", "signature is wrong", stretched)


def _unsigned(family: Family) -> str:
    head = json.dumps({"typ": HOP_TYPE, "alg": "none"}).encode()
    body = json.dumps(family.claims(family.root(), "planner")).encode()
    return family.forged_pop(f"{family.root()}~{raw(head, body)}", "planner")


def _elliptic(family: Family) -> str:
    given = family.claims(family.root(), "planner")
    part = sign({"typ": HOP_TYPE, "alg": "ES256"}, given, ECKey.generate_key("P-256"))
    return family.forged_pop(f"{family.root()}~{part}", "planner")


def _json() -> Iterator[Attack]:
    def twice(name: str) -> Make:
        return lambda f: json_hop(
            f,
            json.dumps(f.claims(f.root(), "planner")).replace(
                f'"{name}"', f'"{name}": 1, "{name}"'
            ),
        )

    yield Attack("a name twice", "JSON", twice("name"))
    yield Attack("an end twice", "JSON", twice("exp"))
    yield Attack("a key member twice", "JSON", twice("x"))
    yield Attack(
        "a header member twice",
        "JSON",
        lambda f: json_hop(
            f,
            json.dumps(f.claims(f.root(), "planner")),
            f'{{"typ":"at+jwt","typ":"{HOP_TYPE}","alg":"EdDSA"}}',
        ),
    )
    for name, text in (
        ("claims that are a list", "[]"),
        ("claims that are a text", '"x"'),
        ("infinity", '{"exp": Infinity}'),
        ("not a number", '{"exp": NaN}'),
        ("a number out of range", '{"exp": 1e999}'),
        ("a pit", "[" * 5000 + "]" * 5000),
        ("half a character", '{"name": "\\ud800"}'),
        ("a comment", '{} // "x"'),
    ):
        yield Attack(name, "JSON", lambda f, text=text: json_hop(f, text))  # type: ignore[misc]


def _order() -> Iterator[Attack]:
    yield Attack("one's own hop dropped", "signature is wrong", dropped)
    yield Attack("a hop of another chain", "signature is wrong", spliced)
    yield Attack("the hop behind another root", "prv is not", another_root, PRV)
    yield Attack("a hop twice", "signature is wrong", one_part_twice)
    yield Attack("a sibling signs", "signature is wrong", signed_by("reporter"), SIGNATURE)
    yield Attack("a grandparent signs", "signature is wrong", signed_by("alice"), SIGNATURE)
    yield Attack("the child signs itself", "signature is wrong", signed_by("migrator"), SIGNATURE)
    yield Attack("the gateway signs", "signature is wrong", signed_by("gateway"), SIGNATURE)
    yield Attack("a key swapped", "signature is wrong", swapped, SIGNATURE)
    yield Attack("caps taken out", "signature is wrong", widened, SIGNATURE)
    yield Attack("a pop as hop", "header", _pop_as_hop)
    yield Attack("a hop as pop", "nothing proves", lambda f: f.chain("alice", "planner"), PROOF)
    yield Attack("a root as hop", "header", lambda f: replaced(f, 1, f.root()))
    yield Attack("a hop as root", "gateway token", lambda f: "~".join(_good(f).split("~")[1:]))
    yield Attack("two pops", "header", lambda f: f.forged_pop(_good(f), "planner"))
    yield Attack("a hop behind a pop", "header", lambda f: f.forged(_good(f), "planner", "b"))
    yield Attack("the pop of a parent", "signature is wrong", pop_by("alice"), SIGNATURE)
    yield Attack("the pop of a sibling", "signature is wrong", pop_by("reporter"), SIGNATURE)
    yield Attack("the pop of a longer chain, cut", "signature is wrong", _cut_below)
    yield Attack("prv of the whole text", "prv is not", *hop(PRV, prv=part_hash("x~y")))
    yield Attack("prv in hexadecimal", "prv is not", *hop(PRV, prv="ab" * 32))
    yield Attack("too deep", "longer than", deep, DEPTH)
    yield Attack("no pop, a stranger's key proved", "nothing proves", lambda f: f.root(), PROOF)


def _good(family: Family) -> str:
    return family.shown(family.chain("alice", "planner"), "planner")


def _pop_as_hop(family: Family) -> str:
    shown = family.shown(family.root(), "alice")
    return family.forged_pop(shown, "alice")


def _cut_below(family: Family) -> str:
    whole = family.shown(family.chain("alice", "planner", "migrator"), "migrator").split("~")
    return "~".join([*whole[:2], whole[3]])


def _keys() -> Iterator[Attack]:
    good: dict[str, Any] = dict(public_jwk(key("planner")))
    yield Attack("no key", "exactly a key", *hop(cnf={}))
    yield Attack("a thumbprint only", "exactly a key", *hop(cnf={"jkt": "x"}))
    yield Attack(
        "a key and a thumbprint",
        "exactly a key",
        *hop(CONFIRMATION, cnf={"jwk": good, "jkt": key("x").thumbprint()}),
    )
    yield Attack("a list for a confirmation", "exactly a key", *hop(cnf=[good]))
    yield Attack("a private key", "exactly a public", *jwk(KEY_MEMBERS, **good, d="AAAA"))
    yield Attack("a key with a name", "exactly a public", *jwk(KEY_MEMBERS, **good, kid="x"))
    yield Attack("a key of no point", "exactly a public", *jwk(kty="OKP", crv="Ed25519"))
    yield Attack("a key for agreement", "another kind", *jwk(**{**good, "crv": "X25519"}))
    yield Attack("a symmetric key", "exactly a public", *jwk(kty="oct", k="AAAA"))
    yield Attack("a short key", "malformed", *jwk(**{**good, "x": "AAAA"}))
    yield Attack("a number for a key", "without its members", *jwk(**{**good, "x": 1}))
    yield Attack("a key in another spelling", "base64url", *jwk(**{**good, "x": good["x"] + "="}))
    yield Attack("a key with which anybody signs", "anybody can sign", weak_pop, WEAK_KEY)
    yield Attack("the parent's own key", "has the key of", own_key(("alice", "alice")), OWN_KEY)
    yield Attack(
        "the root's key again", "has the key of", own_key(("alice", "b", "alice")), OWN_KEY
    )


def _roots() -> Iterator[Attack]:
    other = {"jkt": key("x").thumbprint(), "jwk": public_jwk(key("alice"))}
    yield Attack("a root that is bound to nothing", "exactly a public", rooted(confirmation=None))
    yield Attack(
        "a root with a thumbprint only",
        "exactly a public",
        rooted(confirmation={"jkt": key("alice").thumbprint()}),
    )
    yield Attack("a root of two keys", "another key", rooted(confirmation=other), ROOT_KEY)
    yield Attack("a root for one target", "something else", rooted(audience=ORDERS))
    yield Attack("a root that is over", "expired", rooted(issued=NOW - 90, expires=NOW - 1))
    yield Attack("a root of tomorrow", "future", rooted(issued=NOW + 900))
    yield Attack(
        "a root named like a child", "taken for that of a child", named_like_a_child, ROOT_NAME
    )
    yield Attack("a root of another gateway", "not signed by a key", other_gateway(URL, "x"))
    yield Attack(
        "our key under another's name", "another gateway", other_gateway("https://x", "gateway")
    )
    yield Attack("a slash behind our name", "another gateway", other_gateway(URL + "/", "gateway"))
    yield Attack("the identity provider's token", "gateway token", provider_token)
    yield Attack(
        "a token with a shared secret",
        "gateway token",
        lambda f: replaced(f, 0, hmac_token({"sub": SESSION}, b"x")),
    )
