"""For ModelScope: pipeline(..., trust_remote_code=True) imports this file, and by it the package that answers.

The same file lies in every published model folder; there is nothing in it to trust but the installed tftnhits.
"""

try:
    import tftnhits.apps.pipeline  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "tftnhits":
        raise
    raise ModuleNotFoundError(
        "This model is answered by the package tftnhits, which is not installed: install it, with its extra torch.",
        name="tftnhits",
    ) from error
