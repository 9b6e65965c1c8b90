"""Every exception that a user can meet: one sentence that says what, where and what to do."""


class TftnhitsError(Exception):
    """Base of all errors that the kit raises on purpose; the command line prints it and exits with `code`."""

    code = 2

    def __init__(self, *args: object):
        super().__init__(*(_quiet(arg) if isinstance(arg, str) else arg for arg in args))


class DataError(TftnhitsError, ValueError):
    """Bars that can't be read or repaired: names symbol, row, column and value where there is one."""


class HistoryTooShort(DataError):
    """Fewer bars than a model's context: says how many are needed and what can answer with fewer."""


class ConfigError(TftnhitsError, ValueError):
    """A setting outside what is possible: an unknown preset, a horizon beyond the trained one."""


class CheckpointError(TftnhitsError, OSError):
    """A saved model that is missing, corrupt (hash), foreign (shape) or from a newer version."""


class HubError(TftnhitsError, OSError):
    """A model hub that can't be reached, refuses, is too slow, or delivers other than it lists: names hub and model."""


class DownloadError(TftnhitsError, OSError):
    """Live bars that can't be downloaded, and are not in the cache either: names the source and the symbols."""


class MissingDependency(TftnhitsError, ImportError):
    """An optional package that is not installed: names the extra that brings it."""


class OutputError(TftnhitsError, OSError):
    """A file or folder that can't be written."""


class NotebookError(TftnhitsError, RuntimeError):
    """A notebook that did not run to its end: names notebook and cell, and where the partial copy is."""


class BacktestIncomplete(TftnhitsError, RuntimeError):
    """A backtest some parts of which were killed: names them; all others are kept, and a second call resumes."""


# They move the cursor, end the line, or can't be printed: what came from a file is not to act on a terminal.
_CONTROL = dict.fromkeys(
    [*range(32), *range(127, 160), 0x2028, 0x2029, *range(0xD800, 0xE000)], "?"
)


LONGEST = (
    490  # characters of a message: beyond, its middle goes, since what to do stands at its end
)


def _quiet(text: str) -> str:
    text = text.translate(_CONTROL)
    return text if len(text) <= LONGEST else f"{text[:300]} ... {text[-(LONGEST - 305) :]}"


def one_line(text: str, limit: int = 60) -> str:
    """`text` in one printable line, cut to `limit` characters."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text[: 4 * limit].split()))
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def shown(value: object, limit: int = 60) -> str:
    """`value` as a message quotes it: its repr in one printable line, cut to `limit` characters."""
    try:
        # numpy's numbers as Python's: nobody typed np.int64(5)
        scalar = type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0
        text = str(value) if scalar and not isinstance(value, str) else repr(value)
    except (
        Exception
    ):  # an integer of 5,000 digits, lists in lists for ever; other people's classes raise anything
        text = f"<{type(value).__name__}>"
    return one_line(text, limit)
