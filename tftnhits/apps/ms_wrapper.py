"""modelscope imports this file for trust_remote_code=True, and by it the installed tftnhits."""

import tftnhits.apps.pipeline  # noqa: F401
