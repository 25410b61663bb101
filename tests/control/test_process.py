"""Tests for `hoopgw.processes.control`: the process itself, killed and started again."""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from hoopgw import config
from hoopgw.config import GatewayConfig
from hoopgw.control.client import ControlClient
from hoopgw.control.desk import FiledReview, ReviewDesk
from hoopgw.control.local import call_local
from hoopgw.events import Principal
from hoopgw.identity.keyfiles import create_state, load_secret, load_signing_key
from hoopgw.identity.tokens import GATEWAY, GatewayToken, TokenSigner
from hoopgw.policy.decision import Review
from hoopgw.spi import ReviewOutcome
from hoopgw.store.sqlite import SqliteStore
from tests.control.gateway_case import ALICE, CAROL, POLICY, TOML
from tests.control.world import operation
from tests.store.values import DBA
from tests.support.processes import Processes, Running, free_port


def make_folder() -> tuple[Path, GatewayConfig]:
    """Make a state folder and its configuration."""
    folder = Path(tempfile.mkdtemp(prefix="hg-process-"))
    (folder / "policies").mkdir()
    (folder / "policies" / "test.cedar").write_text(POLICY)
    (folder / "hoopgw.toml").write_text(TOML.format(port=free_port()))
    settings = config.load(folder / "hoopgw.toml")
    create_state(settings.paths, settings.tls.names, datetime.now(UTC))
    return folder, settings


def begin(processes: Processes, settings: GatewayConfig) -> Running:
    """Start a control process."""
    return processes.start_python(
        "control", "-m", "hoopgw.processes.control", "--config", str(settings.path)
    )


class ProcessCase(TestCase):
    """A worker's side in this process, and a control process of its own."""

    def setUp(self) -> None:
        self.folder, self.settings = make_folder()
        self.addCleanup(shutil.rmtree, self.folder)
        self.processes = Processes(self.folder)
        self.addCleanup(self.processes.stop)
        self.loop: Any = reactor
        endpoint = UNIXClientEndpoint(self.loop, str(self.settings.paths.control_socket))
        self.client = ControlClient(endpoint, self.loop, random.random, "w1")
        self.desk = ReviewDesk(self.client, self.loop)
        self.addCleanup(self.client.stop)
        self.addCleanup(self.desk.stop)

    async def start(self) -> Running:
        """Start control, and wait until the worker is connected to it."""
        running = await deferToThread(begin, self.processes, self.settings)
        connected: Deferred[None] = Deferred()

        def up() -> None:
            if not connected.called:
                connected.callback(None)

        self.client.on_connected(up)
        await connected.addTimeout(60, self.loop)
        await deferToThread(running.wait_for_line, "control serves")
        return running

    async def call(self, method: str, path: str, who: Principal, **body: Any) -> Any:
        """Call the API as somebody, who is not refused."""
        answer = await self.answer(method, path, who, **body)
        self.assertEqual(answer.status_code, 200, answer.text)
        return answer.json()

    async def answer(self, method: str, path: str, who: Principal, **body: Any) -> Any:
        """Call the API as somebody."""
        now = time.time()
        signer = TokenSigner(
            load_signing_key(self.settings.paths.token_key), self.settings.control.url
        )
        token = signer.sign(
            GatewayToken(principal=who, audience=GATEWAY, issued=now, expires=now + 60)
        )
        return await deferToThread(
            requests.request,
            method,
            self.settings.control.url + path,
            json=body,
            headers={"Authorization": f"Bearer {token}"},
            verify=str(self.settings.paths.ca_certificate),
            timeout=60,
        )


class KillTests(ProcessCase):
    """A worker that holds an operation, and a control process that is killed."""

    async def test_reviews_survive_a_kill(self) -> None:
        """Held before, approved after; and one that was approved before but not told."""
        self.client.start()
        self.desk.start()
        running = await self.start()
        reviews: list[FiledReview] = []
        outcomes: dict[str, ReviewOutcome] = {}
        for text in ("delete 1", "delete 2"):
            review = await self.desk.ask(ALICE, "s-1", operation(text), Review(remedies=(DBA,)))
            assert isinstance(review, FiledReview)
            review.settled.addCallback(lambda o: outcomes.setdefault(o.request, o))
            reviews.append(review)
        await deferToThread(running.kill)
        running = await self.start()
        for review in reviews:
            path = f"/v1/requests/{review.request}/approve"
            await self.call("POST", path, CAROL, comment="still fine")
        for review in reviews:
            await review.settled.addTimeout(60, self.loop)
        self.assertEqual([outcomes[r.request].approved for r in reviews], [True, True])
        listed = await self.call("GET", "/v1/requests", CAROL)
        self.assertEqual({r["state"] for r in listed["requests"]}, {"consumed"})
        self.assertEqual(await deferToThread(running.stop), 0)
        # A graceful stop closes nothing that is held, and leaves a whole store.
        store = SqliteStore.open(
            self.settings.paths.store, load_secret(self.settings.paths.store_key)
        )
        self.addCleanup(store.close)
        self.assertEqual(store.count_states(), {"consumed": 2})

    async def test_a_graceful_restart_withdraws_nothing(self) -> None:
        self.client.start()
        self.desk.start()
        running = await self.start()
        review = await self.desk.ask(ALICE, "s-1", operation(), Review(remedies=(DBA,)))
        self.assertEqual(await deferToThread(running.stop), 0)
        await self.start()
        one = await self.call("GET", f"/v1/requests/{review.request}", CAROL)
        self.assertEqual(one["state"], "requested")


class StartTests(SynchronousTestCase):
    """What makes starting impossible, and what does not."""

    def setUp(self) -> None:
        self.folder, self.settings = make_folder()
        self.addCleanup(shutil.rmtree, self.folder)
        self.processes = Processes(self.folder)
        self.addCleanup(self.processes.stop)

    def status(self) -> int:
        """Return with which status a control process ends."""
        return begin(self.processes, self.settings).process.wait(60)

    def test_one_state_has_one_control(self) -> None:
        first = begin(self.processes, self.settings)
        first.wait_for_line("control serves")
        second = begin(self.processes, self.settings)
        second.wait_for_line("another control process uses this state")
        self.assertEqual(second.process.wait(60), 2)
        self.assertFalse(call_local(self.settings.paths.control_socket, "local_status")["ready"])
        for line in first.output.splitlines():
            self.assertEqual(json.loads(line)["role"], "control")

    def test_a_store_of_a_newer_version_is_left_alone(self) -> None:
        store = SqliteStore.open(
            self.settings.paths.store, load_secret(self.settings.paths.store_key)
        )
        store._db.connection.execute("PRAGMA user_version = 99")
        store.close()
        self.assertEqual(self.status(), 2)

    def test_a_missing_key_is_said(self) -> None:
        self.settings.paths.store_key.unlink()
        running = begin(self.processes, self.settings)
        running.wait_for_line("hoopgw init")
        self.assertEqual(running.process.wait(60), 2)

    def test_an_open_key_file_is_refused(self) -> None:
        self.settings.paths.token_key.chmod(0o644)
        self.assertEqual(self.status(), 2)
