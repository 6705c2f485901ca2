"""The one door to tensorflow-addons.

tensorflow-addons 0.23 reads Keras's inner modules under the name `keras.src`, which today is
Keras 3. While it is being imported, and only then, `keras` is tf-keras, the Keras that
everything here is built on; so its optimizers, losses, metrics and callbacks are subclasses of
tf-keras's own, and there is one Keras in use.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from types import ModuleType

import tf_keras

from tfforensics.command import UsageError


def load(needed_by: str) -> ModuleType:
    """Imports tensorflow-addons.

    Args:
        needed_by: what the caller wants it for, to name in the error ("optimizer lamb").

    Raises:
        UsageError: it is not installed; there are no wheels of it for Python 3.12 and later.
    """
    if "tensorflow_addons" in sys.modules:
        return sys.modules["tensorflow_addons"]
    keras = _modules("keras")
    as_keras = {
        "keras" + name.removeprefix(tf_keras.__name__): module
        for name, module in _modules(tf_keras.__name__).items()
    }
    for name in keras:
        del sys.modules[name]
    sys.modules.update(as_keras)
    try:
        with warnings.catch_warnings():
            # That it is no longer developed, and older than this TensorFlow, is known here.
            warnings.filterwarnings("ignore", module="tensorflow_addons")
            return importlib.import_module("tensorflow_addons")
    except ModuleNotFoundError as error:
        if error.name != "tensorflow_addons":
            raise
        version = ".".join(map(str, sys.version_info[:2]))
        raise UsageError(
            f"{needed_by}: needs tensorflow-addons, which is not installed; it has wheels for "
            f"Python 3.10 and 3.11 only (this is {version})"
        ) from error
    finally:
        for name in _modules("keras"):
            del sys.modules[name]
        sys.modules.update(keras)


def _modules(package: str) -> dict[str, ModuleType]:
    """The imported modules of a package, itself among them, by name."""
    return {
        name: module
        for name, module in sys.modules.items()
        if name == package or name.startswith(f"{package}.")
    }
