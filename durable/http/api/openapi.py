"""The OpenAPI 3.1 document of the API, made of the table of routes and the types of its documents."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from durable.client.api_models import Problem
from durable.http.api.api_route import ApiRoute, RouteQuery
from durable.http.api.problems import MEDIA_TYPE, TITLES

PREFIX = "/api/v1"

_REF = "#/components/schemas/{name}"
_EVENTS = "text/event-stream"

_HEADERS = {
    "Idempotency-Key": "The id of what is made, where the body has none: the same request again makes nothing more.",
    "Last-Event-ID": "The id of the last event that came: the stream goes on behind it.",
    "traceparent": "The trace context (W3C) that what is begun belongs to.",
}


def openapi_document(routes: Sequence[ApiRoute]) -> dict[str, Any]:
    """The document."""
    bodies = [route.body for route in routes if route.body is not None]
    answers = [route.answer for route in routes if route.answer is not None]
    queries = [route.query for route in routes]
    kinds: list[Any] = [*bodies, *answers, *queries, Problem]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    schema_of = dict(zip(map(repr, kinds), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of, components)
    named = {query.__name__ for query in queries}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "durable-exec",
            "version": version("durable-exec"),
            "description": "Executions, sessions, questions and the rest of a store that `durable serve` offers.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": PREFIX}],
        "security": [{"token": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in components.items() if name not in named},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: ApiRoute, schema_of: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    description = route.description
    if route.role is not None:
        description += f"\n\nNeeds a token with the role `{route.role}`."
    found: dict[str, Any] = {
        "operationId": route.name,
        "tags": [route.tag],
        "summary": route.summary,
        "description": description,
        "parameters": [*_places(route), *_query(route, components), *_headers(route)],
        "responses": _responses(route, schema_of),
    }
    if route.role is None:
        found["security"] = []
    else:
        found["x-role"] = route.role
    if route.body is not None:
        content = {"application/json": {"schema": schema_of[repr(route.body)]}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _places(route: ApiRoute) -> list[dict[str, Any]]:
    schema = {"type": "string", "minLength": 1, "maxLength": 1024}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in route.places]


def _query(route: ApiRoute, components: dict[str, Any]) -> list[dict[str, Any]]:
    if route.query is RouteQuery:
        return []
    schema = components[route.query.__name__]
    required = schema.get("required", ())
    found = []
    for name, each in schema["properties"].items():
        plain = dict(each)
        if "anyOf" in plain:  # null is a parameter that is not there
            choices = [choice for choice in plain.pop("anyOf") if choice != {"type": "null"}]
            plain.pop("default", None)
            plain |= choices[0] if len(choices) == 1 else {"anyOf": choices}
        described = {"description": plain.pop("description")} if "description" in plain else {}
        found.append({"name": name, "in": "query", "required": name in required, **described, "schema": plain})
    return found


def _headers(route: ApiRoute) -> list[dict[str, Any]]:
    fields = getattr(route.body, "__struct_fields__", ())
    names = ["Idempotency-Key"] if "id" in fields or "key" in fields else []
    if "id" in fields:
        names.append("traceparent")
    if route.stream:
        names.append("Last-Event-ID")
    return [
        {"name": name, "in": "header", "description": _HEADERS[name], "schema": {"type": "string"}} for name in names
    ]


def _responses(route: ApiRoute, schema_of: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status in (route.status, *route.also):
        answer: dict[str, Any] = {"description": _SUCCESS[status]}
        if route.stream:
            schema = schema_of[repr(route.answer)]
            text = "Server-sent events; the data of each is a document of this schema."
            answer["content"] = {_EVENTS: {"schema": {"type": "string", "description": text}, "x-event-schema": schema}}
        elif route.answer is not None:
            answer["content"] = {"application/json": {"schema": schema_of[repr(route.answer)]}}
        if status in (200, 201) and route.status == 201:
            answer["headers"] = {"Location": {"description": "What was made.", "schema": {"type": "string"}}}
        found[str(status)] = answer
    problem = {MEDIA_TYPE: {"schema": schema_of[repr(Problem)]}}
    for status in route.problems():
        found[str(status)] = {"description": TITLES[status], "content": problem}
    return found


_SUCCESS = {200: "It is so", 201: "It was made", 202: "It was recorded", 204: "It is done"}
