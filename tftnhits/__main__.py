"""`python -m tftnhits` is the command `tftnhits`."""

from .apps.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
