"""What an AsyncSSH client does; run as a program of its own: ``HOST PORT USER FOLDER``.

It comes with an agent, ``SSH_AUTH_SOCK``: the files of a certificate that has a critical option of
ours it does not take, and what an agent has it passes on as it is.
"""

import asyncio
import sys
from pathlib import Path

import asyncssh  # type: ignore[import-not-found]  # it is nowhere but where this runs


async def main(host: str, port: int, user: str, folder: Path) -> None:
    """Twenty commands at once on one connection, a lot of input, a file there and back."""
    options = {
        "known_hosts": str(folder / "known"),
        "config": None,
    }
    async with asyncssh.connect(host, port, username=user, **options) as connection:
        told = await asyncio.gather(
            *(connection.run(f"echo {number}; exit 0", check=True) for number in range(20))
        )
        assert [each.stdout for each in told] == [f"{number}\n" for number in range(20)]
        much = b"0123456789abcdef" * 200_000
        done = await connection.run("cat", input=much, encoding=None, check=True)
        assert done.stdout == much
        failed = await connection.run("exit 7")
        assert failed.exit_status == 7
        async with connection.start_sftp_client() as sftp:
            (folder / "sent").write_bytes(much)
            await sftp.put(str(folder / "sent"), str(folder / "moved"))
            await sftp.get(str(folder / "moved"), str(folder / "back"))
        assert (folder / "back").read_bytes() == much
    print("done")


asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])))
