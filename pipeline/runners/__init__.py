"""Runners execute a queue of jobs somewhere; they know nothing of models or of what a row means."""

from pipeline.runners.base import Runner
from pipeline.runners.inline import Inline

__all__ = ["Inline", "Runner"]
