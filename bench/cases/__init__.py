"""All cases of `python -m bench`, by subject."""

from bench.cases import engine, inversion, scaling, start, store, study

CASES = [*engine.CASES, *inversion.CASES, *store.CASES, *study.CASES, *start.CASES, *scaling.CASES]
