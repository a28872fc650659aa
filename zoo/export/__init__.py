"""From a model to the fastest runtime that agrees with it, in memory or as a file for deployment."""

from zoo.export.eager import fast_copy
from zoo.export.optimize import OptimizedModel, optimize
from zoo.export.runtimes import RUNTIMES, missing

__all__ = ["RUNTIMES", "OptimizedModel", "fast_copy", "missing", "optimize"]
