"""From a model to the fastest runtime that agrees with it, in memory or as a file for deployment."""

from zoo.export.eager import fast_copy
from zoo.export.files import FORMATS, export_model
from zoo.export.optimize import optimize
from zoo.export.optimized import OptimizedModel
from zoo.export.runtimes import RUNTIMES, missing

__all__ = ["FORMATS", "RUNTIMES", "OptimizedModel", "export_model", "fast_copy", "missing", "optimize"]
