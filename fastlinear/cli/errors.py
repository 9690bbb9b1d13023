"""The one exception that commands raise on purpose."""

from __future__ import annotations


class CommandError(Exception):
    """A problem to report in one line on stderr, without a traceback.

    Parameters
    ----------
    message : str
        What was expected and what came.
    status : int
        Exit status: 2 for wrong usage or data (default), 1 for a run that failed.
    """

    def __init__(self, message: str, *, status: int = 2) -> None:
        super().__init__(message)
        self.status = status
