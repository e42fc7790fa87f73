"""The study's mathematics: functions on arrays and streamed shards, usable without the pipeline.

Needs SciPy (`pip install 'noisezoo[study]'`), which is why `import noisezoo` does not import this package.
"""
