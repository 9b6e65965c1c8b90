"""Puts a measured table into a section of README.md, so that no number there is typed."""

from pathlib import Path

from tftnhits.files import atomic_write


def fill(path: str | Path, section: str, text: str) -> None:
    """Replace what stands between <!-- section --> and <!-- /section --> in the file."""
    before, rest = Path(path).read_text().split(f"<!-- {section} -->")
    after = rest.split(f"<!-- /{section} -->")[1]
    atomic_write(path, f"{before}<!-- {section} -->\n{text}\n<!-- /{section} -->{after}")
