"""The HTTP door: one ASGI application with the JSON API. It parses, calls and renders: no rules, no SQL."""
