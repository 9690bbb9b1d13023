"""The ``fastlinear`` command, also ``python -m fastlinear``."""

from __future__ import annotations

import sys

EXTRA = frozenset({"typer", "click", "rich", "sklearn", "matplotlib", "threadpoolctl"})
"""Import names of what the extra ``[cli]`` installs."""


def main() -> None:
    """Run the command line; where a library of the extra is missing, say how to get it."""
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


if __name__ == "__main__":
    main()
