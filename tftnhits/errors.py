"""Every exception that a user can meet: one sentence that says what, where and what to do."""


def printable(text: str, limit: int = 60, tail: int = 0) -> str:
    """`text` in one printable line: what came from a file is not to act on a terminal.

    Parameters
    ----------
    text : any text; what can't be printed becomes "?"
    limit : characters of the answer at most
    tail : how many of its last characters survive the cut
    """
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    if len(line) <= limit:
        return line
    return f"{line[: limit - tail - 3]}...{line[len(line) - tail :]}"


def quoted(value: object, limit: int = 60) -> str:
    """`value` as a message quotes it: its repr in one printable line, cut to `limit`."""
    try:
        # numpy's numbers as Python's: nobody typed np.int64(5)
        scalar = type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0
        text = str(value) if scalar and not isinstance(value, str) else repr(value)
    except Exception:  # an integer of 5,000 digits, lists in lists; other people's classes
        text = f"<{type(value).__name__}>"
    return printable(text, limit)


def counted(number: int, thing: str) -> str:
    """A number of things for a message: "1 bar", "3 bars"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


class TftnhitsError(Exception):
    """Base of all errors that the kit raises on purpose; the command line exits with `code`."""

    code = 2

    def __init__(self, message: object = ""):
        super().__init__(printable(str(message), 490, tail=185))  # what to do stands at the end


class DataError(TftnhitsError, ValueError):
    """Bars that can't be read or repaired: names symbol, row, column and value."""


class HistoryTooShort(DataError):
    """Fewer bars than a model's context: says how many are needed and what can answer."""


class ConfigError(TftnhitsError, ValueError):
    """A setting outside what is possible: an unknown preset, a horizon beyond the trained one."""


class CheckpointError(TftnhitsError, OSError):
    """A saved model that is missing, corrupt (hash), foreign (shape) or of a newer version."""


class HubError(TftnhitsError, OSError):
    """A model hub that can't be reached, refuses, is too slow, or delivers other than it lists."""


class DownloadError(TftnhitsError, OSError):
    """Live bars that can't be downloaded and are not cached: names the source and the symbols."""


class MissingDependency(TftnhitsError, ImportError):
    """An optional package that is not installed: names the extra that brings it."""


class OutputError(TftnhitsError, OSError):
    """A file or folder that can't be written."""


class NotebookError(TftnhitsError, RuntimeError):
    """A notebook that stopped: names notebook and cell, and where the partial copy is."""


class BacktestIncomplete(TftnhitsError, RuntimeError):
    """A backtest some parts of which were killed; a second call resumes it."""
