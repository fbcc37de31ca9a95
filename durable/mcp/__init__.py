"""The MCP server: a durable code interpreter, executions and questions as tools of agents (specs/mcp.md)."""
