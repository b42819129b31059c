"""Imports what the tasks import of the installed packages, for the bytecode that this leaves.

Called while the image is built. A container whose root file system is read-only can't keep
bytecode: its start would take half a minute instead of eight seconds. The bytecode of all modules,
used or not, would take twice the room. That the imports pass shows that `slim.py` took out nothing
that they need.
"""

from importlib import import_module

MODULES = (
    "apache_beam.runners.portability.fn_api_runner",
    "google_crc32c",
    "jinja2",
    "keras",
    "kfp.compiler",
    "kfp.dsl.executor_main",
    "matplotlib.pyplot",
    "obstore",
    "scipy.stats",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "tensorflow",
    "tensorflow_datasets",
    "tensorflow_serving.apis.prediction_log_pb2",
)

for name in MODULES:
    import_module(name)
