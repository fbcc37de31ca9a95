"""Every route of the API. The server, the OpenAPI document and the tests of roles read this table."""

from __future__ import annotations

from typing import Any

from durable.http.api.api_route import ApiCall, ApiRoute
from durable.http.api.openapi import openapi_document
from durable.http.api.routes import (
    actor_routes,
    bulk_routes,
    checkpoint_routes,
    deployment_routes,
    execution_routes,
    prompt_routes,
    queue_routes,
    schedule_routes,
    session_routes,
    store_routes,
    stream_routes,
)


async def get_openapi(_call: ApiCall) -> object:
    """The document that describes this API, for everybody."""
    return openapi_document(ROUTES)


ROUTES: tuple[ApiRoute, ...] = (
    *execution_routes.ROUTES,
    *bulk_routes.ROUTES,
    *stream_routes.ROUTES,
    *prompt_routes.ROUTES,
    *session_routes.ROUTES,
    *checkpoint_routes.ROUTES,
    *schedule_routes.ROUTES,
    *queue_routes.ROUTES,
    *deployment_routes.ROUTES,
    *actor_routes.ROUTES,
    *store_routes.ROUTES,
    ApiRoute("GET", "/openapi.json", None, get_openapi, dict[str, Any]),
)
