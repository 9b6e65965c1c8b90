"""Let modelscope find our pipeline by its name, whether it was imported before us, comes after, or never comes.

modelscope imports a pipeline's module when that pipeline is first asked for, by an index of its own. We add our line to
that index the moment `modelscope.pipelines.builder` exists: now, or by a finder that waits for its import. Either way
`import tftnhits` imports nothing more than this.

Its list of pipelines whose folders are nothing but configuration gets our name too: for those modelscope runs no code
from the model folder, so that one folder serves without `trust_remote_code` here, and with it where nobody has imported
tftnhits and the folder's ms_wrapper.py has to.
"""

import sys

TASK, PIPELINE, MODULE = (
    "time-series-forecasting",
    "tft-nhits-forecasting",
    "tftnhits.apps.pipeline",
)
BUILDER = "modelscope.pipelines.builder"


class _Waiting:
    """Finds nothing; once BUILDER is looked for, has the others find it, and adds our line after it has run."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != BUILDER:
            return None
        sys.meta_path.remove(cls)
        found = (finder.find_spec(name, path, target) for finder in sys.meta_path)
        spec = next(filter(None, found), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_add(module):
                execute(module)
                _add(module)

            spec.loader.exec_module = execute_and_add
        return spec


def register() -> None:
    """Called by `import tftnhits`."""
    if BUILDER in sys.modules:
        _add(sys.modules[BUILDER])
    elif _Waiting not in sys.meta_path:
        sys.meta_path.insert(0, _Waiting)


def _add(builder) -> None:
    """Our line in modelscope's index; a modelscope that keeps none, or another, is left as it is."""
    try:
        from modelscope.utils.import_utils import LazyImportModule

        line = {"filepath": "", "imports": [], "module": MODULE}
        LazyImportModule.get_ast_index()["index"]["PIPELINES", TASK, PIPELINE] = line
        builder._CONFIG_ONLY_PIPELINES = builder._CONFIG_ONLY_PIPELINES | {PIPELINE}
    except (ImportError, AttributeError, LookupError, TypeError) as error:
        import logging

        logging.getLogger("tftnhits").warning(
            "This modelscope needs trust_remote_code=True for us (%r).", error
        )
