"""All exceptions that hang on one: causes, contexts, and those that requests and urllib3 keep among their arguments."""

from collections.abc import Iterator


def linked(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception and each one linked to it, once."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        at = waiting.pop()
        if id(at) in seen:
            continue
        seen.add(id(at))
        yield at
        links = (at.__cause__, at.__context__, getattr(at, "reason", None), *at.args)
        waiting += [link for link in links if isinstance(link, BaseException)]
