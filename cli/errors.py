"""What the command itself finds wrong.

CliError
├── BadInputError      what was typed, or a file that was named, cannot be understood
├── NotThereError      what was named is not there
├── AmbiguousIdError   the beginning of an id fits more than one thing
├── RefusedError       understood, and not done
└── WaitTimedOutError  what was waited for did not come in time
"""

from cli.exits import Exit


class CliError(Exception):
    """The root of this package's errors. exit_code: how the command ends."""

    exit_code = Exit.OURS

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence


class BadInputError(CliError):
    """What was typed, or a file that was named, cannot be understood."""

    exit_code = Exit.USAGE


class NotThereError(CliError):
    """What was named is not there."""

    exit_code = Exit.NOT_FOUND


class AmbiguousIdError(CliError):
    """The beginning of an id fits more than one thing."""

    exit_code = Exit.USAGE


class RefusedError(CliError):
    """Understood, and not done."""

    exit_code = Exit.REFUSED


class WaitTimedOutError(CliError):
    """What was waited for did not come in time."""

    exit_code = Exit.WAIT_TIMED_OUT
