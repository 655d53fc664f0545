"""A load of mixed requests that runs while something else happens, and checks every answer whole."""

from .clients import Load, Mix, Target
from .questions import Kind
from .report import Report, Sample

__all__ = ["Kind", "Load", "Mix", "Report", "Sample", "Target"]
