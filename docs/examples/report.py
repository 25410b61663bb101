"""An AI agent's work with an identity of its own: run it inside ``hoopgw delegate``, or logged in.

    hoopgw delegate --to planner --allow orders:Postgres::read --
        python report.py orders app_reader 'SELECT count(*) FROM customers'

It asks through psycopg as itself, then hands the same question to a child that may do less, which
asks with asyncpg; and it shows what a refusal tells a program.
"""

from __future__ import annotations

import asyncio
import json
import sys

import asyncpg
import psycopg

from hoopgw.client import AsyncIdentity, Identity, Refused


def ask(me: Identity, target: str, account: str, sql: str) -> object:
    """Ask as ourselves: each connection has a password of its own, good once."""
    access = me.password(target, account)
    with psycopg.connect(**access.psycopg()) as connection:
        return connection.execute(sql.encode()).fetchall()


async def ask_as_child(target: str, account: str, sql: str) -> object:
    """Let a child ask, that may read this one target, for a minute, and not delegate on."""
    me = await AsyncIdentity.from_environment()
    child = await me.delegate("counter", caps=[f"{target}:Postgres::read"], ttl=60, nest=0)

    async def password() -> str:
        return (await child.token(target)).value  # asked for at each connect, so pools work

    access = await child.password(target, account)
    async with asyncpg.create_pool(
        **{**access.asyncpg(), "password": password}, min_size=2, max_size=2
    ) as pool:
        return [tuple(row) for row in await pool.fetch(sql)]


def main(target: str, account: str, sql: str) -> None:
    """Print who asks, and what comes back."""
    me = Identity.from_environment()
    print("I am", me.path)
    print("psycopg:", ask(me, target, account, sql))
    print("asyncpg:", asyncio.run(ask_as_child(target, account, sql)))
    try:
        me.delegate("other", caps=["*:*"]).password("no-such-target", account)
    except Refused as refused:
        print("refused:", json.dumps(refused.as_dict()))


if __name__ == "__main__":
    main(*sys.argv[1:])
