"""Install the package where it is missing; nothing happens where it is there.

The notebooks' first cell runs it (%run), from beside the notebook or from the clone
that was put there. Nothing is installed yet: it uses the standard library alone.
"""

import os
import site
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

CLONE = Path(__file__).resolve().parents[1]


def main() -> None:
    """Install the clone that this file belongs to, and let Colab show widgets."""
    colab = "COLAB_RELEASE_TAG" in os.environ
    modelscope = "MODELSCOPE_ENVIRONMENT" in os.environ
    modelscope = modelscope or Path("/mnt/workspace").is_dir()
    found = find_spec("tftnhits")
    if found is None or found.origin is None:  # a folder of that name is no package
        # hosts keep the Jupyter that they have
        project = f"{CLONE}[{'hosted' if colab or modelscope else 'all'}]"
        command = [sys.executable, "-m", "pip", "install", "-q", "-e", project]
        subprocess.run(command, check=True)
        site.addsitedir(sysconfig.get_path("purelib"))
    if colab:
        from google.colab import output

        output.enable_custom_widget_manager()


if __name__ == "__main__":
    main()
