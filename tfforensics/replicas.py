"""The devices that train one detector together: of this process, or of the workers of TF_CONFIG.

Each of n replicas takes its slice of every step's batch; gradients, batch statistics and feature
centres are reduced over all (models/), so that the same step is done as on one device. Weights and
metrics are therefore the same on every replica, and the chief alone writes them down.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfforensics import __version__, configfile
from tfforensics.cluster import Cluster
from tfforensics.command import UsageError
from tfforensics.config import Config
from tfforensics.peers import Peers
from tfforensics.pipeline import Share
from tfforensics.stopping import Stopped


class Replicas:
    """This process among the others of its run; one without others need not ask.

    Every worker must make the same calls in the same order: each is answered when all have made it.

    Args:
        strategy: of tf.distribute; TensorFlow's default, of one device, if None.
        cluster: the workers; None for one process.
        peers: the others of them.

    Attributes:
        strategy: to build the detector under. One a process: two would take each other's
            collectives for their own.
        count: devices, over all workers.
        share: what this process takes of each batch.
        chief: whether this process is the one that validates, writes and evaluates.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy | None = None,
        cluster: Cluster | None = None,
        peers: Peers | None = None,
    ) -> None:
        self.strategy = tf.distribute.get_strategy() if strategy is None else strategy
        self.count = self.strategy.num_replicas_in_sync
        parts = 1 if cluster is None else len(cluster.workers)
        part = 0 if cluster is None else cluster.index
        self.share = Share(part, parts, pieces=self.count // parts)
        self.chief = cluster is None or cluster.chief
        self._peers = peers

    def distribute(self, make: Callable[[], tf.data.Dataset]) -> tf.data.Dataset:
        """What `fit` takes in place of a dataset of this process's share."""
        if self.count == 1:
            return make()
        # Not from the dataset itself, which TensorFlow would share out by files.
        return self.strategy.distribute_datasets_from_function(lambda context: make())

    def wait(self) -> None:
        """Waits until all are here."""
        self._told(None)

    def agree(self, name: str, value: Any) -> None:
        """Checks that what has this name, a JSON value, is the same on all.

        Raises:
            UsageError: it is not.
        """
        for index, other in enumerate(self._told(value)):
            if other != value:
                raise UsageError(
                    f"{name}: expected {value}, as here, got {other} on worker {index}"
                )

    def from_chief(self, make: Callable[[], Any]) -> Any:
        """What the chief makes, a JSON value; where it is stopped meanwhile, all are."""
        if self._peers is None:
            return make()
        made, stopped = None, None
        if self.chief:
            try:
                made = make()
            except Stopped as error:
                stopped = error
        self.stop_if_any(stopped)
        return self._told(made)[0]

    def stop_if_any(self, asked: Stopped | None) -> None:
        """Raises Stopped on every worker where one was asked to stop."""
        for said in self._told(None if asked is None else [str(asked), asked.exit_status]):
            if said is not None:
                raise Stopped(*said)

    def _told(self, value: Any) -> list[Any]:
        """What each worker says."""
        return [value] if self._peers is None else self._peers.exchange(value)


@contextlib.contextmanager
def join(config: Config, cluster: Cluster | None) -> Iterator[Replicas]:
    """The replicas of a run, for as long as it takes; workers leave together.

    They are all GPUs, or logical CPUs where there is none, of this machine or of every worker.

    Raises:
        UsageError: a setting that needs one device; workers that do not fit together.
        PeerLostError: another worker is gone.
    """
    gpus = len(tf.config.list_physical_devices("GPU"))
    if cluster is None:
        devices = [d.name for d in tf.config.list_logical_devices("GPU" if gpus else "CPU")]
        check(config, len(devices))
        yield Replicas(tf.distribute.MirroredStrategy(devices) if len(devices) > 1 else None)
        return
    check(config, len(cluster.workers) * max(1, gpus))
    with Peers(cluster, _about(config, cluster, gpus)) as peers:
        try:
            yield Replicas(_multi_worker(cluster), cluster, peers)
            peers.exchange("done")
        except Stopped:  # on all of them, of which the chief has saved
            peers.exchange("stopped")
            raise
        except tf.errors.OpError:
            peers.check()  # most likely that is why
            raise


def check(config: Config, count: int) -> None:
    """Refuses what cannot be shared out among that many devices.

    Raises:
        UsageError: a setting that needs one device.
    """
    if count == 1:
        return
    together = f"on {count} devices"
    batch, optimizer = config.data.batch, config.optimizer.name
    if batch % count:
        raise UsageError(f"data.batch: expected a multiple of {count} {together}, got {batch}")
    if optimizer in ("lamb", "radam_lookahead"):
        raise UsageError(f"optimizer.name: expected adam, adamw or sgd {together}, got {optimizer}")
    if config.train.jit_compile:
        raise UsageError(f"train.jit_compile: expected false {together}, got true")


def _multi_worker(cluster: Cluster) -> tf.distribute.Strategy:
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.workers)}),
        task_type="worker",
        task_id=cluster.index,
        rpc_layer="grpc",
    )
    return tf.distribute.MultiWorkerMirroredStrategy(resolver)


def _about(config: Config, cluster: Cluster, gpus: int) -> dict[str, Any]:
    """What has to be the same on every worker for them to make the same step."""
    code = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        code.update(path.read_bytes())
    return {
        "tfforensics": f"{__version__} ({code.hexdigest()[:12]})",
        "TensorFlow": tf.__version__,
        "GPUs": gpus,
        "cluster": list(cluster.workers),
        **configfile.flat(configfile.to_dict(config)),
    }
