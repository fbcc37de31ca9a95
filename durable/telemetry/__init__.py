"""Observers of an engine's events: OpenTelemetry, and logs as JSON. Nothing in the engine imports this package.

from durable.telemetry import OpenTelemetry

with OpenTelemetry() as telemetry:
    async with durable.open("work.db", observer=[durable.log_event, telemetry]) as engine: ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durable.telemetry.json_logs import JsonFormatter as JsonFormatter
    from durable.telemetry.json_logs import log_json as log_json
    from durable.telemetry.open_telemetry import OpenTelemetry as OpenTelemetry

__all__ = ["JsonFormatter", "OpenTelemetry", "log_json"]


def __getattr__(name: str) -> Any:
    if name == "OpenTelemetry":
        from durable.core.extras import install_command

        try:
            from durable.telemetry.open_telemetry import OpenTelemetry
        except ImportError as error:
            raise ImportError(f"{error.name or 'opentelemetry'} is missing; {install_command('otel')}") from error
        return OpenTelemetry
    if name in __all__:
        from durable.telemetry import json_logs

        return getattr(json_logs, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
