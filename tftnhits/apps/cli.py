"""The command line: runs one of apps/commands.py and sees to how it ends."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress

import click

from ..errors import OutputError, TftnhitsError, printable
from . import backtesting, batching, exporting, keeping, reporting, risking, watching  # noqa: F401
from .commands import DEBUG, cli
from .text import typed

SAME = "; the same command goes on from here"
# commands that go on where they stopped
RESUMED = {"train": SAME, "backtest": SAME, "batch": f"{SAME}, with --resume and its --out"}


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    if sys.stderr is None:  # closed: print(file=None) would write to standard output
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if not sys.stderr.isatty():  # there a progress bar is a line every few seconds
        os.environ.setdefault("TQDM_MININTERVAL", "10")
    # each way to end has its exit code; only what should not happen may show a traceback
    debug = os.environ.get(DEBUG, "0") not in ("", "0")
    command = ""
    try:
        with warnings.catch_warnings():
            if not debug and not sys.warnoptions:
                warnings.simplefilter("ignore")
            pieces = cli.main(argv, prog_name="tftnhits", standalone_mode=False)
            if isinstance(pieces, int):  # --help, --version
                return pieces
            command = pieces.__name__
            _write(pieces)
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        return 0
    except KeyboardInterrupt:
        return _end(f"interrupted{RESUMED.get(command, '')}", 130)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except TftnhitsError as error:
        return _end(f"error: {typed(str(error))}", error.code)
    except Exception as error:
        if debug:
            traceback.print_exc()
        message = printable(f"{type(error).__name__}: {error}", 300).rstrip(" .:")
        advice = f"this should not happen: please report it with what {DEBUG}=1 shows"
        return _end(f"error: {message}; {advice}.", 1)
    return 0


def _end(text: str, code: int) -> int:
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)
    return code


def _write(pieces: Iterator[str]) -> None:
    """Write what a command yields; what libraries print meanwhile goes to standard error."""
    out = sys.stdout
    if out is None:
        raise OutputError("Standard output is closed; send it to a file, or to /dev/null.")
    with suppress(AttributeError, ValueError):  # a symbol may have letters that a terminal has not
        out.reconfigure(errors="backslashreplace")
    with redirect_stdout(sys.stderr):
        for piece in pieces:
            try:
                out.write(f"{piece}\n")
                out.flush()
            except OSError as error:
                with suppress(OSError, ValueError):  # or Python would try again at its end
                    os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
                if isinstance(error, BrokenPipeError):
                    raise
                raise OutputError(f"Can't write to standard output: {error.strerror}.") from error
