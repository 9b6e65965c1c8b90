"""modelscope imports this file for trust_remote_code=True, and by it the installed tftnhits."""

import tftnhits.pipeline  # noqa: F401
