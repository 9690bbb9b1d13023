"""The ``fastlinear`` command, also ``python -m fastlinear``."""

from __future__ import annotations

import os
import sys

EXTRA = frozenset({"typer", "click", "rich", "sklearn", "matplotlib", "threadpoolctl"})
"""Import names of what the extra ``[cli]`` installs."""


def main() -> None:
    """Run the command line; where a library of the extra is missing, say how to get it."""
    if sys.argv[1:2] == ["profile"]:
        let_others_sleep()
    try:
        from fastlinear.cli.app import app

        app()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        print(
            f"fastlinear: the command line needs {error.name}, which is not installed: "
            'pip install "fastlinear[cli]"',
            file=sys.stderr,
        )
        sys.exit(1)


def let_others_sleep() -> None:
    """Start anew with the variables of `SPIN`: NumPy, already here, read them at its import."""
    from fastlinear.profile.environment import SPIN, start_anew

    if os.name == "posix" and not os.environ.keys() & SPIN.keys():
        start_anew(SPIN)


if __name__ == "__main__":
    main()
