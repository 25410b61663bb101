"""Just-in-time grants with real clients: refused, told how to ask, granted, and ended in time."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import psycopg
import pytest
import requests
from psycopg import errors

from hoopgw.client import Identity, Refused
from hoopgw.events import Hop, Node, Principal
from hoopgw.identity.keyfiles import load_signing_key
from hoopgw.identity.tokens import GATEWAY, GatewayToken, TokenSigner, target_audience
from tests.support import gateway, postgres
from tests.support.delegating import Person
from tests.support.gateway import WRITER, GatewayRig, RigTarget
from tests.support.processes import PATIENCE, SOON, wait_until

POLICY = """
@id("staff")
permit (principal in Hoopgw::Group::"staff",
  action in [Postgres::Action::"transaction", Postgres::Action::"set"], resource)
when { context.chain.depth == 0 };
@id("staff-connect")
permit (principal in Hoopgw::Group::"staff", action == Postgres::Action::"connect", resource);
@id("agents")
permit (principal is Hoopgw::Agent, action, resource) when { context.chain.hop > 0 };
@id("mask-card") @mask("last4")
forbid (principal, action == Postgres::Action::"see", resource)
when { resource.labels.contains("pii.card") };
@id("approve-truncate") @approval("dba")
forbid (principal, action == Postgres::Action::"truncate", resource)
unless { context.breakglass || context.approvals.contains("approve-truncate") };
@id("no-do") @deny("no anonymous code, ever")
forbid (principal, action == Postgres::Action::"do", resource);

@id("t-read") @grant("read") @grant_approval("dba") @grant_limit("4h")
@grant_scopes("window,session,call")
permit (principal == ?principal,
  action in [Postgres::Action::"read", Postgres::Action::"see"], resource in ?resource);
@id("t-visit") @grant("visit") @grant_approval("dba")
permit (principal == ?principal, action, resource in ?resource);
@id("t-glass") @breakglass("oncall") @grant_approval("security") @grant_limit("30m")
permit (principal == ?principal, action, resource in ?resource) when { context.breakglass };
"""
TABLES = (
    "CREATE TABLE numbers AS SELECT n, repeat('x', 90) AS pad FROM generate_series(1, 1000) n",
    "CREATE TABLE cards (id int, card text)",
    "INSERT INTO cards VALUES (1, '4111111111111111')",
)


@pytest.fixture(scope="module")
def rig() -> Iterator[GatewayRig]:
    """Start a gateway whose policy permits little, and offers more."""
    server = postgres.shared.get(15)
    plain = RigTarget.make("orders", server, *TABLES)
    labelled = RigTarget.make("cards", server, *TABLES, labels={"public.cards.card": ["pii.card"]})
    running = gateway.start(plain, labelled, policy=POLICY)
    yield running
    running.stop()


def ask(rig: GatewayRig, name: str = "alice", **body: Any) -> dict[str, Any]:
    """Ask for a grant as a person."""
    usual = {"target": "orders", "grant": "read", "seconds": 900, "reason": "ticket 7"}
    answer: dict[str, Any] = rig.api(
        "POST", "/v1/grants", {**usual, **body}, name=name, groups=groups_of(name)
    )
    return answer


def groups_of(name: str) -> list[str]:
    return ["staff", "oncall"] if name.startswith("olga") else ["staff"]


def granted(rig: GatewayRig, name: str = "alice", **body: Any) -> str:
    """Ask for a grant, and have it approved."""
    grant = str(ask(rig, name, **body)["id"])
    rig.api("POST", f"/v1/grants/{grant}/approve", {}, name="dora", groups=["dba"])
    return grant


def revoke(rig: GatewayRig, grant: str) -> None:
    rig.api("POST", f"/v1/grants/{grant}/revoke", {})


def connect(rig: GatewayRig, name: str, target: str = "orders", **who: Any) -> Any:
    return rig.connect(target, name=name, groups=who.pop("groups", groups_of(name)), **who)


def select(connection: psycopg.Connection[Any]) -> Any:
    return connection.execute("SELECT count(*) FROM numbers").fetchone()


def refused(connection: psycopg.Connection[Any], text: str = "") -> dict[str, Any]:
    """Be refused; return what the refusal says of grants."""
    with pytest.raises(errors.InsufficientPrivilege) as caught:
        connection.execute((text or "SELECT count(*) FROM numbers").encode())
    detail = caught.value.diag.message_detail
    return json.loads(detail) if detail and detail.startswith("{") else {}


def until_cut(connection: psycopg.Connection[Any]) -> float:
    """Return how long it takes until a session that does nothing is ended."""
    begun = time.monotonic()
    while time.monotonic() - begun < PATIENCE:
        try:
            connection.pgconn.consume_input()
        except psycopg.OperationalError:
            break
        if connection.pgconn.status != psycopg.pq.ConnStatus.OK:
            break
        time.sleep(0.02)
    return time.monotonic() - begun


def test_the_way_of_a_grant(rig: GatewayRig) -> None:
    """The refusal says how to ask; once granted, the same session goes on; then it is over."""
    with connect(rig, "alice") as connection:
        with pytest.raises(errors.InsufficientPrivilege) as caught:
            select(connection)
        diagnosis = caught.value.diag
        assert diagnosis.message_hint == (
            "hoopgw request --target orders --grant read --for 15m --reason ...\n"
            "hoopgw request --target orders --grant visit --for 15m --reason ..."
        )
        assert diagnosis.message_detail is not None
        told = json.loads(diagnosis.message_detail)
        assert told["code"] == "grant_required"
        assert told["grants"] == ["read", "visit"]
        assert told["request"] == f"{rig.settings.control.url}/v1/grants"
        grant = granted(rig, "alice")
        wait_until("the grant is in force", lambda: bool(_try(connection)))
        assert select(connection) == (1000,)
        assert refused(connection, "DELETE FROM numbers")["grants"] == ["visit"]
        revoke(rig, grant)
        # What runs at that moment ends, with its session: so others look.
        wait_until("it is over", lambda: not _may(rig, "alice"))
        assert refused(connection)["grants"] == ["read", "visit"]
    wait_until("its use is recorded", lambda: "used" in _steps(rig, grant))
    assert [s for s in _steps(rig, grant) if s != "used"] == ["requested", "approved", "revoked"]
    assert _steps(rig, grant).count("used") == 1


def _try(connection: psycopg.Connection[Any]) -> Any:
    try:
        return select(connection)
    except errors.InsufficientPrivilege:
        return None


def _may(rig: GatewayRig, name: str) -> bool:
    """Say whether a session of its own may read."""
    with contextlib.suppress(psycopg.OperationalError), connect(rig, name) as connection:
        return _try(connection) is not None
    return False


def _steps(rig: GatewayRig, grant: str) -> list[str]:
    """Return the steps of a grant that the log holds."""
    sessions = rig.api("GET", "/v1/sessions?protocol=hoopgw")["sessions"]
    if not sessions:
        return []
    records = rig.api("GET", f"/v1/sessions/{sessions[0]['id']}/records")["records"]
    found = [r["step"] for r in records if r["kind"] == "grant.step" and r["grant"] == grant]
    lines = rig.api("GET", f"/v1/sessions/{sessions[0]['id']}/replay")["lines"]
    assert all(any(step in line["text"] for line in lines) for step in found)
    return found


class Asleep:
    """A statement that runs for long, which must be ended soon after what the block does."""

    def __init__(
        self, rig: GatewayRig, connection: Any, statement: str = "SELECT pg_sleep(300)"
    ) -> None:
        self.said = ""
        self._place = rig.targets["orders"]
        self._thread = threading.Thread(target=self._run, args=(connection, statement), daemon=True)

    def __enter__(self) -> Self:
        """Start it, and wait until it sleeps."""
        self._thread.start()
        wait_until("it runs", lambda: self._place.server.is_asleep(self._place.database))
        return self

    def __exit__(self, *_error: object) -> None:
        """Wait for its end."""
        self._thread.join(SOON)
        assert not self._thread.is_alive(), "it sleeps on"

    def _run(self, connection: Any, statement: str) -> None:
        try:
            connection.execute(statement)
        except psycopg.Error as error:
            self.said = str(error)


def test_a_session_that_only_a_grant_allowed(rig: GatewayRig) -> None:
    """It ends within two seconds of the grant, idle or at work; refused before and afterwards."""
    with pytest.raises(psycopg.OperationalError, match="hoopgw request --target orders"):
        connect(rig, "ben", groups=[])
    grant = granted(rig, "ben", grant="visit")
    wait_until("the grant is in force", lambda: _opens(rig, "ben"))
    idle, busy = connect(rig, "ben", groups=[]), connect(rig, "ben", groups=[])
    with Asleep(rig, busy) as asleep:
        revoke(rig, grant)
        assert until_cut(idle) < SOON
    assert "granted for a while is over" in asleep.said
    assert not _opens(rig, "ben")


def _opens(rig: GatewayRig, name: str) -> bool:
    try:
        connect(rig, name, groups=[]).close()
    except psycopg.OperationalError:
        return False
    return True


def test_what_runs_by_a_grant_alone(rig: GatewayRig) -> None:
    """A session that may be, with a statement that may not any more, ends too."""
    grant = granted(rig, "cleo")
    connection = connect(rig, "cleo")
    wait_until("the grant is in force", lambda: bool(_try(connection)))
    with Asleep(rig, connection, "SELECT pg_sleep(300) FROM numbers") as asleep:
        revoke(rig, grant)
    assert "is over" in asleep.said


def test_an_end_by_time(rig: GatewayRig) -> None:
    """Nobody has to say it, and nobody has to ask."""
    grant = granted(rig, "dan", grant="visit", seconds=60)
    wait_until("the grant is in force", lambda: _opens(rig, "dan"))
    held = rig.api("GET", f"/v1/grants/{grant}")
    connection = connect(rig, "dan", groups=[])
    assert 50 < held["until"] - time.time() <= 60
    connection.close()


def test_one_call(rig: GatewayRig) -> None:
    """For exactly these bytes, once, however many try at the same time."""
    statement = "SELECT n FROM numbers WHERE n = 7"
    with connect(rig, "emma") as connection:
        digest = refused(connection, statement)["digest"]
        granted(rig, "emma", scope="call", digest=digest)
        refused(connection, "SELECT n FROM numbers WHERE n = 8")
        refused(connection, statement + " ")
        connections = [connect(rig, "emma") for _ in range(10)]

        def run(each: psycopg.Connection[Any]) -> Any:
            try:
                return each.execute(statement.encode()).fetchone()
            except errors.InsufficientPrivilege:
                return None

        with ThreadPoolExecutor(10) as pool:
            results = list(pool.map(run, connections * 2))
        assert [r for r in results if r] == [(7,)]
        for each in connections:
            each.close()


def test_one_session(rig: GatewayRig) -> None:
    """The first that needs it has it, and no other, until it ends."""
    granted(rig, "finn", scope="session")
    with connect(rig, "finn") as first, connect(rig, "finn") as second:
        wait_until("the grant is in force", lambda: bool(_try(first)))
        assert select(first) == (1000,)
        refused(second)
        assert select(first) == (1000,)


def test_what_is_seen(rig: GatewayRig) -> None:
    """A field that may not be seen is, masked, as long as the grant is; then the session ends."""
    grant = granted(rig, "gina", target="cards")
    with connect(rig, "gina", "cards") as connection:
        wait_until("it is in force", lambda: _cards(rig, "gina") == ("****1111",))
    with connect(rig, "gina", "cards") as connection:
        assert connection.execute("SELECT card FROM cards").fetchone() == ("****1111",)
        revoke(rig, grant)
        wait_until("it is over", lambda: _cards(rig, "gina") is None)
        with pytest.raises(psycopg.Error):
            connection.execute("SELECT card FROM cards").fetchone()


def _cards(rig: GatewayRig, name: str) -> Any:
    with connect(rig, name, "cards") as connection:
        try:
            return connection.execute("SELECT card FROM cards").fetchone()
        except errors.InsufficientPrivilege:
            return None


def test_broken_glass(rig: GatewayRig) -> None:
    """At once, with what policy lifts for it; not what it never lifts; others hear of it."""
    with connect(rig, "olga") as connection:
        assert refused(connection)["breakglass"] == ["t-glass"]
        grant = ask(rig, "olga", grant="t-glass", reason="outage 7")
        assert grant["state"] == "active"
        wait_until("it is in force", lambda: bool(_try(connection)))
        assert connection.execute("TRUNCATE cards").statusmessage == "TRUNCATE TABLE"
        refused(connection, "DO $$ BEGIN END $$")
    said = rig.gateway.output
    assert "olga broke glass on orders" in said
    who: dict[str, Any] = {"name": "sam", "groups": ["security"]}
    (item,) = rig.api("GET", "/v1/grants/reviews", **who)["grants"]
    with pytest.raises(requests.HTTPError, match=r"40[34]"):
        rig.api(
            "POST",
            f"/v1/grants/{item['id']}/close",
            {"comment": "mine"},
            name="olga",
            groups=["security"],
        )
    rig.api("POST", f"/v1/grants/{item['id']}/close", {"comment": "as it should be"}, **who)
    assert rig.api("GET", "/v1/grants/reviews", **who)["grants"] == []


def test_agents(rig: GatewayRig) -> None:
    """A person's grant serves her agents; a grant of broken glass does not."""
    granted(rig, "hana")
    with connect(rig, "hana", agent="planner") as connection:
        wait_until("it is in force", lambda: bool(_try(connection)))
    ask(rig, "olga2", grant="t-glass", reason="outage 8")
    with connect(rig, "olga2", agent="planner") as connection:
        refused(connection)


def test_a_program_asks(rig: GatewayRig) -> None:
    """An agent asks by `hoopgw.client`, for its own chain; a person approves; then it is let in."""
    with Person.logged_in(rig, groups=("staff",)) as alice:
        agent = Identity.from_environment({"HOOPGW_HOME": str(alice.home)}).delegate("asker")
        with pytest.raises(Refused) as refused:
            agent.request("orders", grant="nothing-of-the-kind", seconds=60, reason="ticket 7")
        assert refused.value.code not in ("unreachable", "not_logged_in"), refused.value
        with psycopg.connect(**agent.password("orders", WRITER).psycopg(), autocommit=True) as c:
            with pytest.raises(errors.InsufficientPrivilege) as denied:
                c.execute("SELECT count(*) FROM numbers")
            said = Refused.of(denied.value)
            assert said is not None
            assert (said.code, said.ask["target"]) == ("grant_required", "orders")
            assert "read" in said.ask["grants"]
            asked = agent.request("orders", grant="read", seconds=900, reason="ticket 7")
            assert (asked.state, asked.groups) == ("requested", ("dba",))
            rig.api("POST", f"/v1/grants/{asked.id}/approve", {}, name="dora", groups=["dba"])
            assert agent.requested(asked.id, wait=20).is_granted
            assert c.execute("SELECT count(*) FROM numbers").fetchone() == (1000,)
        assert Refused.of(ValueError("another")) is None


def token(rig: GatewayRig, who: Principal, target: str | None) -> str:
    """Sign a token of a whole chain, as the token endpoint flattens it."""
    now = time.time()
    signer = TokenSigner(load_signing_key(rig.settings.paths.token_key), rig.settings.control.url)
    audience = GATEWAY if target is None else target_audience(target)
    return signer.sign(
        GatewayToken(principal=who, audience=audience, issued=now - 1, expires=now + 300)
    )


def test_an_agent_asks(rig: GatewayRig) -> None:
    """For its own chain, from what its refusal says; no sibling has it, and its end is its end."""
    root = Hop(id="corp|ivy", name="ivy", kind="person", groups=frozenset({"staff"}))
    chains = [
        Principal(
            chain=(root, Hop(id="corp|ivy~planner", name="planner", kind="agent")),
            nodes=(Node(id=f"node-of-ivys-planner-{n}"),),
            session="login-ivy",
            expires=time.time() + 600,
        )
        for n in range(2)
    ]
    agent, sibling = chains
    with rig.connect("orders", token=token(rig, agent, "orders")) as connection:
        told = refused(connection)
        asked = requests.post(
            told["request"],
            json={
                "target": told["target"],
                "grant": told["grants"][0],
                "seconds": 300,
                "reason": "the migration asks for it",
            },
            headers={"Authorization": f"Bearer {token(rig, agent, None)}"},
            verify=str(rig.ca),
            timeout=60,
        ).json()
        grant = f"/v1/grants/{asked['id']}"
        rig.api("POST", f"{grant}/approve", {}, name="dora", groups=["dba"])
        waited = requests.get(
            f"{rig.settings.control.url}{grant}?wait=20",
            headers={"Authorization": f"Bearer {token(rig, agent, None)}"},
            verify=str(rig.ca),
            timeout=60,
        ).json()
        assert waited["state"] == "active"
        wait_until("it is in force", lambda: bool(_try(connection)))
        with rig.connect("orders", token=token(rig, sibling, "orders")) as other:
            refused(other)
        with connect(rig, "ivy") as person:
            refused(person)
        rig.api("POST", "/v1/logins/login-ivy/revoke", {})
        assert until_cut(connection) < SOON
    wait_until("it is over", lambda: rig.api("GET", grant)["state"] == "revoked")


def test_a_template_that_goes(rig: GatewayRig) -> None:
    """With the next look at the policy its grants are over, and do not come back with it."""
    grant = granted(rig, "jan", grant="visit")
    wait_until("the grant is in force", lambda: _opens(rig, "jan"))
    connection = connect(rig, "jan", groups=[])
    policy = rig.folder / "policies" / "test.cedar"
    text = policy.read_text()
    policy.write_text(text.replace('@id("t-visit")', '@id("t-visit-now")'))
    try:
        assert until_cut(connection) < SOON  # the files are looked at every two seconds
        assert not _opens(rig, "jan")
        wait_until(
            "it is ended", lambda: rig.api("GET", f"/v1/grants/{grant}")["state"] != "active"
        )
    finally:
        policy.write_text(text)
    assert rig.api("GET", f"/v1/grants/{grant}")["note"].startswith("the policy does not offer it")
