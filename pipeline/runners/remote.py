"""Clusters of many machines: a scheduler that runs already, or one that Slurm or Kubernetes is asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from noisezoo.errors import NoiseZooError
from noisezoo.ledger import Entry
from pipeline.kept import kept
from pipeline.progress import say
from pipeline.queue import Queue
from pipeline.runners.cluster import RESOURCE, STOP_SECONDS, drive, quietly, tell, workers_of
from pipeline.units import Failed, Order
from pipeline.worker import Report


class _Remote:
    """What the clusters share: wait for workers, drive them, let go."""

    wait_seconds: float

    def run(self, order: Order, queue: Queue, report: Report) -> Iterator[Entry | Failed]:
        """Give the cluster the queue."""
        _check_addresses(order)
        yield from drive(kept(repr(vars(self)), self._started), order, queue, report)

    @contextmanager
    def _started(self) -> Iterator[Any]:
        with self._client() as client:
            self._wait(client)
            tell(client)
            yield client

    def _client(self) -> Any:
        raise NotImplementedError

    def _wait(self, client: Any) -> None:
        """Until the first worker that can take units is there."""
        until = time.monotonic() + self.wait_seconds
        while not workers_of(client):
            if time.monotonic() > until:
                others = len(client.scheduler_info()["workers"])
                raise NoiseZooError(
                    f"No worker of {client.scheduler.address} announces the resource {RESOURCE} ({others} others are there): "
                    f'start one for each GPU with `dask worker {client.scheduler.address} --nthreads 1 --resources "{RESOURCE}=1"`.'
                )
            time.sleep(0.2)


class Dask(_Remote):
    """A scheduler that runs already, by its address or the file that it wrote."""

    def __init__(self, address: str | None = None, scheduler_file: str | None = None, wait_seconds: float = 60) -> None:
        self.address, self.scheduler_file, self.wait_seconds = address, scheduler_file, wait_seconds

    @contextmanager
    def _client(self) -> Iterator[Any]:
        if (self.address is None) == (self.scheduler_file is None):
            raise NoiseZooError(
                "runner=dask needs to know the scheduler: runner.address=tcp://HOST:8786 or runner.scheduler_file=PATH."
            )
        import dask
        from distributed import Client

        with dask.config.set(quietly()):
            try:
                client = (
                    Client(self.address, timeout=10)
                    if self.address
                    else Client(scheduler_file=self.scheduler_file, timeout=10)
                )
            except (OSError, ValueError) as e:
                raise NoiseZooError(
                    f"No Dask scheduler answers at {self.address or self.scheduler_file}: start one with `dask scheduler`, or give runner.address=tcp://HOST:8786."
                ) from e
            try:
                yield client
            finally:
                client.close(timeout=STOP_SECONDS)


class Slurm(_Remote):
    """Workers as Slurm jobs, through dask-jobqueue: one job and one worker for each GPU."""

    def __init__(self, workers: int, options: Mapping[str, Any], wait_seconds: float = 3600) -> None:
        self.workers, self.options, self.wait_seconds = workers, dict(options), wait_seconds

    @contextmanager
    def _client(self) -> Iterator[Any]:
        _needs("dask_jobqueue", "slurm")
        import dask
        from dask_jobqueue import SLURMCluster
        from distributed import Client

        extra = ["--resources", f"{RESOURCE}=1"]
        with (
            dask.config.set(quietly()),
            SLURMCluster(processes=1, worker_extra_args=extra, **self.options) as cluster,
            Client(cluster) as client,
        ):
            cluster.scale(jobs=self.workers)
            say(f"Slurm was asked for {self.workers} workers.")
            yield client


class Kubernetes(_Remote):
    """Workers as pods, through dask-kubernetes and its operator: one pod for each GPU."""

    def __init__(self, workers: int, options: Mapping[str, Any], wait_seconds: float = 3600) -> None:
        self.workers, self.options, self.wait_seconds = workers, dict(options), wait_seconds

    @contextmanager
    def _client(self) -> Iterator[Any]:
        _needs("dask_kubernetes", "kubernetes")
        import dask
        from dask_kubernetes.operator import KubeCluster
        from distributed import Client

        command = ["dask", "worker", "--nthreads", "1", "--resources", f"{RESOURCE}=1"]
        with (
            dask.config.set(quietly()),
            KubeCluster(n_workers=self.workers, worker_command=command, **self.options) as cluster,
            Client(cluster) as client,
        ):
            yield client


def _needs(module: str, extra: str) -> None:
    if find_spec(module) is None:
        raise NoiseZooError(f"runner={extra} needs the extra '{extra}': type `pip install -e '.[{extra}]'`.")


def _check_addresses(order: Order) -> None:
    """Other machines see neither this one's working directory nor, often, its disks: say so before they do."""
    relative = [place for place in (order.zoo, order.images) if "://" not in place and not place.startswith("/")]
    if relative:
        raise NoiseZooError(
            f"{relative[0]} is relative to this directory, which workers elsewhere do not share: give dir=/a/shared/folder or dir=s3://BUCKET/NAME."
        )
