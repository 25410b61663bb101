"""Keys are made, told, switched and forgotten here: control has them, and knows who knows what.

Rules, each with a test in ``tests/control/test_keys.py``:

- A next key is told to all who verify, and signs nothing before each of them has said that it knows
  it. Workers answer; agents fetch it by renewing and say so when they connect; whether callers know
  it only the operator can say.
- What the old key has signed stays good until it ends by itself, and then the old key is forgotten.
  An operator who has lost a key forgets it at once (`KeyKeeper.retire`).
- Whatever stops control in between, the next start goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from attrs import define, evolve, field
from cryptography import x509
from joserfc.jwk import OKPKey
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from hoopgw.control.fleet import Fleet, Worker
from hoopgw.control.token_keys import TokenKeys
from hoopgw.control.trust import AgentTrust, WorkerTrust, der
from hoopgw.errors import UnavailableError
from hoopgw.identity.authority import Authority
from hoopgw.identity.key_kinds import INTERCEPTION, KINDS, Form, KeyKind, Knower
from hoopgw.identity.keybook import KeyBook, Retired, Rotation, describe_retired, utc
from hoopgw.store.rows import Store

log = Logger()

ELSEWHERE: Final = frozenset({"log"})
"""Keys that others rotate: the recorder has the log's."""
_FORGOTTEN_LIMIT: Final = 3
"""Keys of one kind that are accepted besides the present one and the next."""


@define(eq=False)
class KeyKeeper:
    """All keys but those in `ELSEWHERE`. One in the control process.

    Raises (when made):
        ConfigError: a key cannot be read, or serves two purposes.

    """

    _book: KeyBook
    _store: Store
    _tokens: TokenKeys
    _fleet: Fleet
    _now: Callable[[], float]
    _issuer: str
    _operators: Callable[[], x509.Certificate | None]
    """The CA of an operator's own certificate for listeners; None if it is ours."""
    _switched: Mapping[str, Callable[[], None]] = field(factory=dict)
    """Called when a key signs from now on, by its name: to issue anew what others show."""
    _rotations: dict[str, Rotation] = field(init=False)
    _known: dict[str, tuple[Worker, str]] = field(factory=dict, init=False, repr=False)
    """What each worker has said that it trusts."""
    _published: tuple[str, ...] = field(default=(), init=False)
    """Names of the token keys that were published besides the one that signs."""
    _is_publishing: bool = field(default=False, init=False)
    agents: AgentTrust = field(init=False, repr=False)
    """What agents are told."""
    workers: WorkerTrust = field(init=False, repr=False)
    """What workers are told."""

    def __attrs_post_init__(self) -> None:
        self._book.complete(utc(self._now()))
        self._rotations = self._book.load()
        for name, rotation in self._rotations.items():
            if rotation.switching:
                self._switch_files(KINDS[name])
            elif rotation.announced is not None and not self._book.has_next(KINDS[name]):
                self._put(name, evolve(rotation, announced=None))
        self._book.check_separate()
        self._look()
        self._fleet.on_joined = self._push

    # What others need

    @property
    def callers(self) -> Authority:
        """The CA that issues to callers."""
        return self._book.authority(KINDS["callers"])

    @property
    def ssh_users(self) -> OKPKey:
        """The CA that issues to SSH users."""
        return self._book.signing(KINDS["ssh-users"])

    @property
    def interception(self) -> Authority:
        """The CA that issues for hosts of others. Raises `ConfigError` if there is none."""
        return self._book.authority(KINDS[INTERCEPTION])

    def has(self, name: str) -> bool:
        """Say whether this gateway has a key: one is there only where it is configured."""
        return name in self._rotations

    def accepted(self, name: str) -> tuple[x509.Certificate, ...]:
        """Return the CAs of one kind that are accepted: what issues first."""
        return self._book.certificates(KINDS[name], self._rotations[name])

    def accepted_keys(self, name: str) -> tuple[OKPKey, ...]:
        """Return the public keys of one kind that are accepted: what signs first."""
        return self._book.public_keys(KINDS[name], self._rotations[name])

    # What an operator does

    def describe(self) -> list[dict[str, Any]]:
        """Return what ``hoopgw keys list`` shows."""
        rows: list[dict[str, Any]] = []
        for name, kind in self._book.kinds.items():
            rotation = self._rotations[name]
            rows.append(self._row(kind, "signs", ahead=False))
            if rotation.announced is not None:
                waits = self.waits_for(kind)
                rows.append({**self._row(kind, "next", ahead=True), "waits_for": waits})
            for old in rotation.retired:
                described = describe_retired(kind, old)
                rows.append(
                    {
                        "key": name,
                        "kind": kind.form.value,
                        "state": "old",
                        "made": described.made,
                        "ends": old.until,
                        "fingerprint": described.fingerprint,
                        "use": kind.use,
                        "waits_for": [],
                    }
                )
        return rows

    def rotate(self, name: str, *, vouched: bool = False) -> list[str]:
        """Begin a rotation, or say that callers know the next key.

        Args:
            name: of the key.
            vouched: the operator's word that callers know the next key.

        Returns:
            What the next key waits for; empty if it signs.

        Raises:
            UnavailableError: there is no such key, or its rotation is under way.

        """
        kind = self._kind(name)
        rotation = self._rotations[name]
        if rotation.announced is None:
            if len(rotation.retired) >= _FORGOTTEN_LIMIT:
                raise UnavailableError(
                    f"{name}: {_FORGOTTEN_LIMIT} old keys are accepted still; wait for their end, "
                    f"or forget them with 'hoopgw keys retire {name}'"
                )
            self._book.announce(kind, utc(self._now()))
            self._put(name, evolve(rotation, announced=self._now(), vouched=vouched))
            log.info("{name}: the next key is made, and told to all who verify", name=name)
        elif vouched:
            self._put(name, evolve(rotation, vouched=True))
        else:
            raise UnavailableError(
                f"{name}: a rotation is under way already; 'hoopgw keys list' says what it waits "
                "for"
            )
        self._look()
        self.sweep()
        pending = self._rotations[name].announced is not None
        return self.waits_for(kind) if pending else []

    def retire(self, name: str, *, force: bool = False) -> int:
        """Forget the old keys of one kind at once: what they signed is refused from now on.

        Args:
            name: of the key.
            force: also if somebody still depends on them, who is then shut out.

        Returns:
            How many there were.

        Raises:
            UnavailableError: there is no such key, or somebody depends on the old ones.

        """
        kind = self._kind(name)
        rotation = self._rotations[name]
        late = self._late(kind)
        if rotation.retired and late and not force:
            raise UnavailableError(
                f"{name}: still with what the old key has signed: {', '.join(late)}; wait a moment,"
                " or shut them out with --force"
            )
        self._put(name, evolve(rotation, retired=()))
        self._look()
        log.warn("{name}: {count} old keys were retired", name=name, count=len(rotation.retired))
        return len(rotation.retired)

    def sweep(self) -> None:
        """Switch what may be switched, and forget what has ended. Call it every second."""
        for name, rotation in list(self._rotations.items()):
            kind = KINDS[name]
            if name in ELSEWHERE:
                continue
            if rotation.switching:  # it broke off, as on a full disk
                self._switch_files(kind)
                self._look()
            elif rotation.announced is not None and not self.waits_for(kind):
                self._switch(kind)
            kept = tuple(old for old in self._rotations[name].retired if old.until > self._now())
            if kept != self._rotations[name].retired:
                self._put(name, evolve(self._rotations[name], retired=kept))
                self._look()
                log.info("{name}: an old key has ended, and is forgotten", name=name)

    def waits_for(self, kind: KeyKind) -> list[str]:
        """Say who does not know the next key yet."""
        waits: list[str] = []
        if Knower.CALLERS in kind.knowers and not self._rotations[kind.name].vouched:
            waits.append(f"your word that callers have it: hoopgw keys rotate {kind.name} --switch")
        return waits + self._late(kind)

    # How it is done

    def _late(self, kind: KeyKind) -> list[str]:
        """Say which workers and agents have not said that they trust what is told now."""
        waits: list[str] = []
        if kind.name == "token":
            waits += ["the workers"] if self._is_publishing else []
        elif Knower.WORKERS in kind.knowers:
            waits += [f"worker {name}" for name in self._ignorant_workers()]
        if Knower.AGENTS in kind.knowers:
            waits += [f"agent {name}" for name in self._ignorant_agents()]
        return waits

    def _kind(self, name: str) -> KeyKind:
        if name not in self._book.kinds or name in ELSEWHERE:
            raise UnavailableError(
                f"there is no key {name!r}; these are: {', '.join(self._book.kinds)}"
            )
        return KINDS[name]

    def _row(self, kind: KeyKind, state: str, *, ahead: bool) -> dict[str, Any]:
        described = self._book.describe(kind, ahead=ahead)
        return {
            "key": kind.name,
            "kind": kind.form.value,
            "state": state,
            "made": described.made,
            "ends": described.ends,
            "fingerprint": described.fingerprint,
            "use": kind.use,
            "waits_for": [],
        }

    def _switch(self, kind: KeyKind) -> None:
        """Let the next key sign."""
        rotation, now = self._rotations[kind.name], self._now()
        if kind.name == "store":
            self._store.reseal(self._book.secret(kind, ahead=True))
        retired = rotation.retired
        if kind.form is not Form.SECRET:
            retired = (*retired, Retired(self._book.public(kind), now + kind.overlap))
        self._put(kind.name, evolve(rotation, switching=True, retired=retired))
        self._switch_files(kind)
        self._look()
        log.info("{name}: the next key signs from now on", name=kind.name)

    def _switch_files(self, kind: KeyKind) -> None:
        self._book.promote(kind)
        if kind.name == "token":
            self._switch_token(self._book.signing(kind))
        after = self._switched.get(kind.name)
        if after is not None:
            after()
        done = evolve(self._rotations[kind.name], announced=None, switching=False, vouched=False)
        self._put(kind.name, done)

    def _switch_token(self, key: OKPKey) -> None:
        """Sign tokens with a key that workers know; after a crash, before any is connected."""
        if not self._fleet.members():
            Deferred.fromCoroutine(self._tokens.publish([key]))
        self._tokens.switch(key)

    def _put(self, name: str, rotation: Rotation) -> None:
        self._rotations[name] = rotation
        self._book.save(self._rotations)

    def _look(self) -> None:
        """Read what is trusted now, and tell it."""
        operators = self._operators()
        listeners = self.accepted("listeners") if operators is None else (operators,)
        self.agents = AgentTrust(
            issuing=self._book.authority(KINDS["link"]),
            link=self.accepted("link"),
            ticket_keys=self.accepted_keys("ticket"),
            gateway=listeners,
            own_gateway=operators is None,
        )
        mask = self._book.describe(KINDS["mask"]).fingerprint
        self.workers = WorkerTrust(
            issuer=self._issuer,
            link=der(self.accepted("link")),
            callers=der(self.accepted("callers")),
            ssh_users=tuple(_raw(key) for key in self.accepted_keys("ssh-users")),
            ticket=self.accepted_keys("ticket")[0].thumbprint(),
            mask=mask,
            agents=self.agents.name,
        )
        self._publish_tokens()
        for worker in self._fleet.members():
            self._push(worker)

    def _publish_tokens(self) -> None:
        """Let workers know the token keys; `sweep` sees when they do."""
        _signs, *besides = self.accepted_keys("token")
        names = tuple(key.thumbprint() for key in besides)
        if names == self._published or self._is_publishing:
            return
        self._published, self._is_publishing = names, True
        publishing = Deferred.fromCoroutine(self._tokens.publish(besides))
        publishing.addErrback(lambda failure: log.failure("token keys were not told", failure))
        publishing.addCallback(self._published_tokens)

    def _published_tokens(self, _workers: object) -> None:
        self._is_publishing = False
        self._publish_tokens()  # there may be others meanwhile

    def _push(self, worker: Worker) -> None:
        """Tell a worker what to trust; it counts once it has answered."""
        told = self.workers.name
        self._known[worker.worker] = worker, ""
        telling = Deferred.fromCoroutine(worker.call("trust", self.workers.to_body()))
        telling.addCallback(self._taken, worker, told)
        telling.addErrback(lambda failure: log.failure("a worker was not told keys", failure))

    def _taken(self, taken: bool, worker: Worker, told: str) -> None:
        """Note it; a worker that has not taken it is disconnected, and told when it is back."""
        if taken and self._known.get(worker.worker, (None, ""))[0] is worker:
            self._known[worker.worker] = worker, told

    def _ignorant_workers(self) -> Iterable[str]:
        for worker in self._fleet.members():
            known, name = self._known.get(worker.worker, (None, ""))
            if known is not worker or name != self.workers.name:
                yield worker.worker

    def _ignorant_agents(self) -> Iterable[str]:
        status, now = self._fleet.agents(), self._now()
        for row in self._store.agents():
            if row.revoked is not None or row.expires <= now:
                continue  # it has to join again, and is told everything then
            told = status.get(row.name)
            if told is None or not told.connected:
                yield f"{row.name}, which is not connected"
            elif told.trust != self.agents.name:
                yield row.name


def _raw(key: OKPKey) -> bytes:
    raw: bytes = key.public_key.public_bytes_raw()
    return raw
