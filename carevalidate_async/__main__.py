"""The command ``carevalidate``, and ``python -m carevalidate_async``."""

from __future__ import annotations

import logging
import sys


def main() -> None:
    """Run the command line; say which extra is missing when it is."""
    try:
        from carevalidate_async._commands.garbage import look_seldom
        from carevalidate_async._commands.signals import own_process
        from carevalidate_async.cli import cli
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.stderr.write("The command line is an extra: pip install 'carevalidate-async[cli]'\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    # What the log says, the commands say in their own words.
    logging.getLogger("carevalidate_async").addHandler(logging.NullHandler())
    look_seldom()
    with own_process():
        cli(prog_name="carevalidate")


if __name__ == "__main__":
    main()
