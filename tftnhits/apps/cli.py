"""The command line: runs a command and sees to how it ends.

What can be typed is in apps/parser.py, what it does in apps/commands.py. Neither imports anything heavy before a
command runs that needs it, so that help comes at once.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from typing import TextIO

from ..errors import OutputError, TftnhitsError
from .parser import DEBUG, parse
from .text import printable


class _Gone(Exception):
    """The reader of standard output, `head` for one, has seen enough."""


def main(argv: list[str] | None = None) -> int:
    """Runs the command and returns its exit code (parser.ENDS says which); wrong usage raises SystemExit(2)."""
    if sys.stderr is None:  # closed: print(file=None) would write to standard output
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if (
        not sys.stderr.isatty()
    ):  # a progress bar that is no picture becomes a line every few seconds
        os.environ.setdefault("TQDM_MININTERVAL", "10")
    args, debug = parse(argv), os.environ.get(DEBUG, "0") not in ("", "0")
    try:
        with warnings.catch_warnings():
            if not debug and not sys.warnoptions:
                warnings.simplefilter("ignore")
            _answer(args.command(args), sys.stdout)
    except _Gone:
        return 0
    except KeyboardInterrupt:
        return _end(f"interrupted{args.again}", 130)
    except TftnhitsError as error:
        return _end(f"error: {printable(error)}", error.code)
    except Exception as error:
        if debug:
            traceback.print_exc()
        what = printable(
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(" .:")
        )
        return _end(
            f"error: {what}; this should not happen: please report it with what {DEBUG}=1 shows.", 1
        )
    return 0


def _end(text: str, code: int) -> int:
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
    return code


def _answer(pieces: Iterator[str], out: TextIO | None) -> None:
    """Write what a command yields; whatever else is printed meanwhile, by a library, goes to standard error."""
    if out is None:
        raise OutputError("Standard output is closed; send it to a file, or to /dev/null.")
    with suppress(AttributeError, ValueError):
        out.reconfigure(
            errors="backslashreplace"
        )  # a symbol may have letters that the terminal has not
    with redirect_stdout(sys.stderr):
        for piece in pieces:
            try:
                out.write(f"{piece}\n")
                out.flush()
            except OSError as error:
                with suppress(
                    OSError, ValueError
                ):  # or Python would try again at its end, and complain
                    os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
                if isinstance(error, BrokenPipeError):
                    raise _Gone from error
                raise OutputError(
                    f"Can't write to standard output: {error.strerror or error}; send it elsewhere."
                ) from error
