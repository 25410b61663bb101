"""The demonstration's identity provider: nanoidp, a real OpenID Connect issuer, on loopback.

Three people and one AI agent, each with a password or secret made for this run. The log-ins that
the demonstration does for its reader are the real flows: `approve_device` fills in the issuer's
page as a person would, and no token is ever minted on the side.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import requests
from attrs import field, frozen

from hoopgw.demo.processes import Children, DemoError, is_listening

AUDIENCE: Final = "hoopgw"
CLIENT: Final = "hoopgw-cli"
AGENT: Final = "planner"
PEOPLE: Final[Mapping[str, tuple[str, ...]]] = {
    "alice": ("developers",),
    "bob": ("dba", "admins"),
    "carol": ("support",),
    "dana": ("sales",),
}
"""Name to groups."""
_TIMEOUT: Final = 30.0


@frozen(kw_only=True)
class Issuer:
    """A running issuer, and what its people and its agent log in with."""

    url: str
    passwords: Mapping[str, str] = field(repr=False)
    agent_secret: str = field(repr=False)

    def approve_device(self, user_code: str, name: str) -> None:
        """Enter a device code as a person, on the issuer's page.

        Raises:
            DemoError: the issuer did not take it.

        """
        answer = _post(
            f"{self.url}/device",
            {
                "user_code": user_code,
                "username": name,
                "password": self.passwords[name],
                "action": "authorize",
            },
        )
        if "Device authorized" not in answer.text:
            raise DemoError(f"the issuer did not let {name} in")

    def agent_token(self) -> str:
        """Log the AI agent in (client credentials), and return its access token."""
        answer = _post(
            f"{self.url}/token",
            {
                "grant_type": "client_credentials",
                "client_id": AGENT,
                "client_secret": self.agent_secret,
            },
        )
        token: str = answer.json()["access_token"]
        return token


def start(folder: Path, port: int, children: Children) -> Issuer:
    """Write the issuer's configuration into ``folder`` and start it.

    Raises:
        DemoError: nanoidp is not installed, or did not start.

    """
    if importlib.util.find_spec("nanoidp") is None:
        raise DemoError("the demonstration's issuer is not installed: pip install 'hoopgw[demo]'")
    issuer = Issuer(
        url=f"http://127.0.0.1:{port}",
        passwords={name: secrets.token_urlsafe(9) for name in PEOPLE},
        agent_secret=secrets.token_urlsafe(24),
    )
    # JSON is YAML, and needs no library to write it.
    _write(folder / "settings.yaml", _settings(issuer, port))
    _write(folder / "users.yaml", _users(issuer))
    children.start(
        "issuer",
        [sys.executable, "-m", "nanoidp", "--config", str(folder), "--strict-config"],
        env={
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "HOME": str(folder),
            "PYTHONUNBUFFERED": "1",
        },
        cwd=folder,
    )
    children.wait_until("the issuer's start", lambda: is_listening(port), _TIMEOUT)
    return issuer


def _settings(issuer: Issuer, port: int) -> object:
    return {
        "config_version": 1,
        "server": {"host": "127.0.0.1", "port": port},
        "oauth": {
            "issuer": issuer.url,
            "audience": AUDIENCE,
            "token_expiry_minutes": 60,
            "clients": [
                {
                    "client_id": CLIENT,
                    "token_endpoint_auth_method": "none",
                    "description": "hoopgw command line",
                    "redirect_uris": ["http://127.0.0.1/callback"],
                },
                {
                    "client_id": AGENT,
                    "client_secret": issuer.agent_secret,
                    "token_endpoint_auth_method": "client_secret_post",
                    "description": "an AI agent",
                },
            ],
        },
        "session": {
            "secret_key": secrets.token_urlsafe(32),
            # The issuer's management interface could mint anybody's token.
            "management_secret": secrets.token_urlsafe(32),
            "require_ui_login": True,
        },
        "device_flow": {"polling_interval": 1},
        "security_profile": "oauth21",
        "jwt": {"keys_dir": "keys"},
    }


def _users(issuer: Issuer) -> object:
    return {
        "config_version": 1,
        "users": {
            name: {
                "password": issuer.passwords[name],
                "email": f"{name}@example.com",
                "groups": list(groups),
            }
            for name, groups in PEOPLE.items()
        },
    }


def _write(path: Path, content: object) -> None:
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=2) + "\n")


def _post(url: str, form: Mapping[str, str]) -> requests.Response:
    try:
        answer = requests.post(url, data=form, timeout=_TIMEOUT)
    except requests.RequestException as error:
        raise DemoError(f"the issuer did not answer: {type(error).__name__}") from error
    if answer.status_code != 200:
        raise DemoError(f"the issuer answered {answer.status_code}")
    return answer
