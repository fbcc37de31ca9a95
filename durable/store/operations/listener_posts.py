"""Messages for listeners at URLs: they wait in the outbox until a process that has the store open has sent them.

A row's address is the URL, `created_at` the time at which it is to be sent next, and its message the document below. A
process that takes one puts that time off; one that dies with it leaves it to the others (specs/store.md, S17).
"""

from __future__ import annotations

import re

import msgspec

from durable.core.limits import POST_KEEP_MS, POST_LEASE_MS
from durable.store.operations.row_records import dump
from durable.store.operations.transaction import Tx
from durable.store.protocol.requests import Answer, PostEnd, PostsClaim

URLS = "address >= 'http' AND address < 'httq'"
"""The rows of the outbox that are for URLs: no other address begins so."""

_URL = re.compile(r"https?://[^\s/?#@\\]+(?:[/?][^\s#]*)?\Z")


class Post(msgspec.Struct, frozen=True):
    """A message on its way: the body to send, when the promise settled (ms), how often it was sent in vain."""

    body: str
    since: int
    tries: int = 0


_posts = msgspec.json.Decoder(Post)


def is_url(address: str) -> bool:
    """Whether an address is an http(s) URL without a user, as a listener may have one."""
    if _URL.match(address) is None:
        return False
    from urllib.parse import urlsplit  # addresses of engines are no URLs, and never come here

    try:
        parts = urlsplit(address)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def post(tx: Tx, url: str, body: str) -> None:
    """Let a message be sent as soon as somebody looks."""
    document = dump(Post(body, tx.now))
    tx.execute("INSERT INTO outbox (address, message, created_at) VALUES (?,?,?)", (url, document, tx.now))
    tx.effects.posts = tx.effects.peers = True


def claim(tx: Tx, request: PostsClaim) -> Answer:
    """The messages that are due now, and when the next one is."""
    due = f"SELECT id, address, message FROM outbox WHERE {URLS} AND created_at <= ? ORDER BY created_at, id LIMIT ?"
    rows = tx.rows(f"{due}{tx.SKIP_LOCKED}", (tx.now, request.limit))
    posts = []
    for number, url, message in rows:
        document = _posts.decode(message)
        if document.since + POST_KEEP_MS < tx.now:
            tx.execute("DELETE FROM outbox WHERE id=?", (number,))
            posts.append({"post": number, "url": url, "over": True, "body": document.body, "tries": document.tries})
            continue
        tx.execute("UPDATE outbox SET created_at=? WHERE id=?", (tx.now + POST_LEASE_MS, number))
        posts.append({"post": number, "url": url, "over": False, "body": document.body, "tries": document.tries})
    after = tx.row(f"SELECT min(created_at) FROM outbox WHERE {URLS}", ())
    assert after is not None
    wait_ms = None if after[0] is None else max(0, int(after[0]) - tx.now)
    return Answer(200, {"posts": posts, "wait_ms": wait_ms})


def end(tx: Tx, request: PostEnd) -> Answer:
    """Record the outcome of one. Of two processes that sent it, the second ends nothing."""
    row = tx.row(f"SELECT message FROM outbox WHERE id=? AND {URLS}", (request.post,))
    if row is None:
        return Answer(200, {})
    if request.retry_ms is None:
        tx.execute("DELETE FROM outbox WHERE id=?", (request.post,))
    else:
        document = _posts.decode(row[0])
        again = dump(Post(document.body, document.since, document.tries + 1))
        sql = "UPDATE outbox SET created_at=?, message=? WHERE id=?"
        tx.execute(sql, (tx.now + request.retry_ms, again, request.post))
    return Answer(200, {})
