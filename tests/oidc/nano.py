"""PyPI's nanoidp as a process: the second, independent provider."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

import requests
from attrs import define

from tests.support.processes import Processes, free_port

_TIMEOUT: Final = 20.0
_PASSWORD: Final = "alice-password"


@define(eq=False)
class NanoProvider:
    """nanoidp, listening on loopback, with the person alice and the agent planner."""

    url: str

    @classmethod
    def start(cls, processes: Processes, folder: Path) -> NanoProvider:
        """Write its configuration into a folder, and start it."""
        port = free_port()
        provider = cls(f"http://127.0.0.1:{port}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "settings.yaml").write_text(json.dumps(provider._settings(port)))
        (folder / "users.yaml").write_text(
            json.dumps(
                {
                    "config_version": 1,
                    "users": {
                        "alice": {
                            "password": _PASSWORD,
                            "email": "alice@example.com",
                            "groups": ["dba"],
                        }
                    },
                }
            )
        )
        running = processes.start(
            "nanoidp",
            [sys.executable, "-m", "nanoidp", "--config", folder, "--strict-config"],
            cwd=folder,
        )
        running.wait_for_port(port)
        return provider

    def _settings(self, port: int) -> object:
        return {
            "config_version": 1,
            "server": {"host": "127.0.0.1", "port": port},
            "oauth": {
                "issuer": self.url,
                "audience": "hoopgw",
                "token_expiry_minutes": 10,
                "clients": [
                    {
                        "client_id": "hoopgw-cli",
                        "token_endpoint_auth_method": "none",
                        "redirect_uris": ["http://127.0.0.1/callback"],
                    },
                    {
                        "client_id": "planner",
                        "client_secret": "planner-secret",
                        "token_endpoint_auth_method": "client_secret_post",
                    },
                ],
            },
            "session": {"secret_key": "x" * 40, "management_secret": "y" * 40},
            "device_flow": {"polling_interval": 1},
            "security_profile": "oauth21",
            "jwt": {"keys_dir": "keys"},
        }

    def client_token(self) -> str:
        """Return an access token of the agent's own (client credentials)."""
        form = {
            "grant_type": "client_credentials",
            "client_id": "planner",
            "client_secret": "planner-secret",
        }
        answer = requests.post(f"{self.url}/token", data=form, timeout=_TIMEOUT)
        answer.raise_for_status()
        token: str = answer.json()["access_token"]
        return token

    def approve_device(self, code: str) -> None:
        """Enter a device code, as alice."""
        form = {
            "user_code": code,
            "username": "alice",
            "password": _PASSWORD,
            "action": "authorize",
        }
        answer = requests.post(f"{self.url}/device", data=form, timeout=_TIMEOUT)
        assert "Device authorized" in answer.text, answer.text[:500]

    def log_in(self, url: str) -> str:
        """Log in as alice on the page of an authorization request; return the last page."""
        with requests.Session() as browser:
            browser.get(url, timeout=_TIMEOUT)
            form = {"username": "alice", "password": _PASSWORD}
            return browser.post(url, data=form, timeout=_TIMEOUT).text
