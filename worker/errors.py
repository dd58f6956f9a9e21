"""What can go wrong around a run, on our side of the wire.

WorkerError
├── VaultNotConfiguredError    no key of the vault was given
└── CredentialsRefusedError    new credentials did not pass the live test; nothing was stored
"""


class WorkerError(Exception):
    """The root of this package's own errors (those of `worker.wire` have a tree of their own)."""


class VaultNotConfiguredError(WorkerError):
    """No key of the vault was given, so no credentials can be read or stored."""

    def __str__(self) -> str:
        return (
            "no vault key: set CONNECTION_HEALTH_VAULT_KEYS_FILE to a file with a key "
            "(`connection-health vault generate-key` makes one)"
        )


class CredentialsRefusedError(WorkerError):
    """New credentials did not pass the live test. Nothing was stored; the old ones are still in force."""

    def __init__(self, vendor: str, message: str) -> None:
        super().__init__(vendor, message)
        self.vendor, self.message = vendor, message

    def __str__(self) -> str:
        return f"{self.vendor} refused the credentials: {self.message}"
