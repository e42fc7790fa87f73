"""The GPUs of this machine: one Dask worker process for each, or some processes on the CPU where there is none."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import torch

from noisezoo.errors import NoiseZooError
from noisezoo.ledger import Entry
from pipeline.kept import kept
from pipeline.queue import Queue
from pipeline.runners.cluster import RESOURCE, STOP_SECONDS, drive, quietly, tell
from pipeline.units import Failed, Order
from pipeline.worker import Report

DASHBOARD = "127.0.0.1:8787"
"""For this machine alone; reach it from another with `ssh -L 8787:localhost:8787`."""


class Gpus:
    """One worker process for each visible GPU; on a machine without, `workers` processes on its CPU."""

    def __init__(self, workers: int | None = None, dashboard: str = DASHBOARD) -> None:
        self.workers = workers
        self.dashboard = dashboard

    def run(self, order: Order, queue: Queue, report: Report) -> Iterator[Entry | Failed]:
        """Start the processes, give them the queue, and end them."""
        devices = [] if order.device == "cpu" else visible_gpus()
        if order.device not in ("auto", "cuda", "cpu"):
            raise NoiseZooError(
                f"device={order.device} names one device, and runner=gpus takes them all: leave it out, and choose with CUDA_VISIBLE_DEVICES=0,1."
            )
        if devices and self.workers is not None:
            devices = devices[: self.workers]
        count = len(devices) or self.workers
        if count is None:
            raise NoiseZooError(
                "No GPU is visible here: type runner=inline, or runner.workers=2 for two processes on the CPU."
            )
        cores = len(os.sched_getaffinity(0))
        share = max(1, cores // count)
        # What is not said is shared fairly: decoding always runs on the CPU, computing does where there is no GPU.
        order = replace(order, decode_threads=min(order.decode_threads, share), threads=order.threads or share)
        threads = order.threads or share
        client = kept(
            f"local {devices} {count} {threads}", lambda: local_cluster(devices, count, threads, self.dashboard)
        )
        yield from drive(client, order, queue, report)


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()  # asks the driver, and takes hold of no device
    if named is None:
        return [str(i) for i in range(count)]
    return [word.strip() for word in named.split(",") if word.strip()][:count]


@contextmanager
def local_cluster(devices: list[str], workers: int, threads: int, dashboard: str) -> Iterator[Any]:
    """A client of a scheduler in this process and of worker processes beside it."""
    import dask
    from distributed import Client, LocalCluster, Nanny, Scheduler, SpecCluster

    threads_of = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    common = {"nthreads": 1, "resources": {RESOURCE: 1}, "memory_limit": 0, "dashboard": False}
    # The nannies say when a worker takes its time to end, which every user would ask about and nobody needs to know.
    logging.getLogger("distributed.nanny").setLevel(logging.ERROR)
    with dask.config.set(quietly()):
        if devices and find_spec("dask_cuda"):
            from dask_cuda import LocalCUDACluster

            # It also binds each worker to the cores and the memory that are near its GPU.
            cluster: Any = LocalCUDACluster(
                CUDA_VISIBLE_DEVICES=",".join(devices),
                threads_per_worker=1,
                memory_limit=0,
                resources={RESOURCE: 1},
                dashboard_address=dashboard,
            )
        elif devices:
            cluster = SpecCluster(
                scheduler={
                    "cls": Scheduler,
                    "options": {"host": "127.0.0.1", "port": 0, "dashboard_address": dashboard},
                },
                workers={
                    i: {"cls": Nanny, "options": {**common, "env": {**threads_of, "CUDA_VISIBLE_DEVICES": device}}}
                    for i, device in enumerate(devices)
                },
            )
        else:
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=dashboard,
                env=threads_of,
                **{key: value for key, value in common.items() if key in ("resources", "memory_limit")},
            )
        client = Client(cluster)
        try:
            tell(client)
            yield client
        finally:
            client.close(timeout=STOP_SECONDS)
            cluster.close(timeout=STOP_SECONDS)
