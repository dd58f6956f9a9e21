"""How the worker talks HTTP: capture, retries, deadlines, limits, the guard against inner addresses, redaction."""
