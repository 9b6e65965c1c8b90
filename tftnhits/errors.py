"""Every exception that a user can meet: one sentence that says what, where and what to do."""


class TftnhitsError(Exception):
    """Base of all errors that the kit raises on purpose; the command line prints it and exits with `code`."""

    code = 2


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


class MissingDependency(TftnhitsError, ImportError):
    """An optional package that is not installed: names the extra that brings it."""


class OutputError(TftnhitsError, OSError):
    """A file or folder that can't be written."""


class NotebookError(TftnhitsError, RuntimeError):
    """A notebook that did not run to its end: names notebook and cell, and where the partial copy is."""


class BacktestIncomplete(TftnhitsError, RuntimeError):
    """A backtest some parts of which were killed: names them; all others are kept, and a second call resumes."""


def one_line(text: str, limit: int = 60) -> str:
    """`text` in one printable line, cut to `limit` characters."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text[: 4 * limit].split()))
    return line if len(line) <= limit else f"{line[: limit - 3]}..."


def shown(value: object, limit: int = 60) -> str:
    """`value` as a message quotes it: its repr in one printable line, cut to `limit` characters."""
    try:
        text = repr(value)
    except Exception:  # an integer of 5,000 digits, lists in lists for ever; other people's classes raise anything
        text = f"a {type(value).__name__}"
    return one_line(text, limit)
