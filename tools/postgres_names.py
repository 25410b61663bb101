"""Write ``functions.txt`` and ``catalogs.txt`` of `hoopgw_postgres` from real servers.

Run it by hand from the top of the repository (``python -m tools.postgres_names``) when a new major
version is supported, and read the difference. It starts every PostgreSQL that the tests know.

A function's name is let in where something is masked only if each overload of it in ``pg_catalog``,
in every version, is not volatile or is a harmless one of `VOLATILE`, and cannot show what other
statements or columns hold (`REFUSED`).
"""

from __future__ import annotations

import re
import sys
import typing
from pathlib import Path
from typing import Any, Final

import psycopg

from tests.support import postgres

PACKAGE: Final = Path(__file__).parents[1] / "protocols" / "hoopgw_postgres"

_VOLATILE = """
array_sample array_shuffle bernoulli clock_timestamp currval gen_random_uuid lastval nextval
pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_all
pg_advisory_unlock_shared pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_blocking_pids
pg_collation_actual_version pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn
pg_database_collation_actual_version pg_database_size pg_export_snapshot pg_get_sequence_data
pg_indexes_size
pg_is_in_recovery pg_is_wal_replay_paused pg_jit_available pg_last_committed_xact
pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_lock_status
pg_notification_queue_usage pg_partition_ancestors pg_partition_tree pg_relation_size
pg_safe_snapshot_blocking_pids pg_sequence_last_value pg_sleep pg_sleep_for pg_sleep_until
pg_table_size pg_tablespace_size pg_total_relation_size pg_try_advisory_lock
pg_try_advisory_lock_shared pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared
pg_xact_commit_timestamp pg_xact_status random random_normal set_config setseed system timeofday
txid_status uuidv4 uuidv7
"""
VOLATILE: Final = frozenset(_VOLATILE.split())
"""They give no value of a table and change nothing that lasts; ``set_config`` only with literals,
which `masking_rules` sees to."""

REFUSED: Final = re.compile(
    r".*_to_xml.*"  # run a text as a query, or read a table by its name
    r"|ts_stat|ts_rewrite"  # run a text as a query
    r"|pg_stat_get_activity|pg_stat_get_backend_activity"  # other sessions' statements
    r"|pg_prepared_statement|pg_cursor"  # statements with their literals
    r"|pg_mcv_list_.*"  # a column's most common values
    r"|pg_get_replication_slots|pg_filenode_relation|pg_relation_file.*"
)
_SQL: Final = """
SELECT proname, provolatile FROM pg_catalog.pg_proc
WHERE pronamespace = 'pg_catalog'::pg_catalog.regnamespace
"""
_CATALOGS_SQL: Final = """
SELECT relname FROM pg_catalog.pg_class
WHERE relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND relkind IN ('r', 'v')
"""


def collect(connection: psycopg.Connection[Any], good: set[str], bad: set[str]) -> set[str]:
    """Sort one server's functions into ``good`` and ``bad``; return its catalogs' names."""
    for name, volatility in connection.execute(_SQL).fetchall():
        harmless = volatility != "v" or name in VOLATILE
        (good if harmless and not REFUSED.fullmatch(name) else bad).add(name)
    return {name for (name,) in connection.execute(_CATALOGS_SQL).fetchall()}


def main() -> None:
    """Ask every version, and write the two files."""
    good: set[str] = set()
    bad: set[str] = set()
    catalogs: set[str] = set()
    for version in typing.get_args(postgres.Version):
        server = postgres.start(version)
        try:
            with server.connect() as connection:
                catalogs |= collect(connection, good, bad)
        finally:
            server.stop()
    header = "# Written by tools/postgres_names.py from PostgreSQL {}.\n".format(
        ", ".join(map(str, typing.get_args(postgres.Version)))
    )
    for name, names in (("functions.txt", good - bad), ("catalogs.txt", catalogs)):
        (PACKAGE / name).write_text(header + "\n".join(sorted(names)) + "\n")
        sys.stdout.write(f"{name}: {len(names)} names\n")


if __name__ == "__main__":
    main()
