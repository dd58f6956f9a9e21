"""The command `connection-health`: parse, call, render."""
