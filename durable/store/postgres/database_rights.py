"""The rights that a user lacks in a schema to use its store; row-level security that would hide rows of it."""

from __future__ import annotations

from typing import Any

import psycopg

from durable.store.upkeep.copied_tables import TABLES

_WRITTEN = (*TABLES, "engines", "engine_leases", "commits", "blobs", "blob_parts")
_READ = ("secrets", "store_version")
_DRAWN = ("checkpoints_id_seq",)
"""Sequences whose numbers are asked for by name; those of other tables need no right of their own."""

_USAGE = b"SELECT current_user::text, has_schema_privilege(n.oid, 'USAGE') FROM pg_namespace n WHERE n.nspname = $1"
_TABLES = b"""
    SELECT c.relname::text, coalesce(string_agg(privilege, ', ' ORDER BY privilege), ''), row_security_active(c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) privilege
        ON NOT has_table_privilege(c.oid, privilege) AND (c.relname = ANY($2) OR privilege = 'SELECT')
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND (c.relname = ANY($2) OR c.relname = ANY($3))
    GROUP BY c.oid, c.relname HAVING count(privilege) > 0 OR row_security_active(c.oid) ORDER BY c.relname"""
_SEQUENCES = b"""
    SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind = 'S' AND c.relname = ANY($2) AND NOT has_sequence_privilege(c.oid, 'USAGE')"""

_READABLE = b"""
    SELECT coalesce(bool_and(has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid)), false)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND c.relname = ANY($2)"""


def may_read(connection: psycopg.Connection[Any], schema: str) -> bool:
    """Whether the connection's user sees all rows of the tables there; the store's key may be hidden."""
    return connection.execute(_READABLE, (schema, [*_WRITTEN, "store_version"])).fetchone() == (True,)


def lacking(connection: psycopg.Connection[Any], schema: str) -> list[str]:
    """The rights that the connection's user lacks there, each with what gives it; rows that it may not see."""
    usage = connection.execute(_USAGE, (schema,)).fetchone()
    if usage is None:
        return []  # no schema, no store
    user, may_use = usage
    found = []
    if not may_use:
        found.append(f"user {user} may not use the schema; its owner runs `GRANT USAGE ON SCHEMA {schema} TO {user}`")
    for table, rights, hidden in connection.execute(_TABLES, (schema, list(_WRITTEN), list(_READ))):
        if rights:
            grant = f"GRANT {rights} ON {schema}.{table} TO {user}"
            found.append(f"user {user} may not {rights} in table {table}; its owner runs `{grant}`")
        if hidden:
            found.append(
                f"row-level security hides rows of table {table} from user {user}, and a store must see all of its"
                f" rows; its owner runs `ALTER TABLE {schema}.{table} DISABLE ROW LEVEL SECURITY`"
            )
    for (sequence,) in connection.execute(_SEQUENCES, (schema, list(_DRAWN))):
        grant = f"GRANT USAGE ON SEQUENCE {schema}.{sequence} TO {user}"
        found.append(f"user {user} may not use the sequence {sequence}; its owner runs `{grant}`")
    return found
