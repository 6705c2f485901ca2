"""Trains the detector of a configuration; run again, it goes on where it stopped.

python -m tfforensics.train [--config FILE] [--SECTION.KEY VALUE ...] [--workdir DIR]
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from tfforensics import cluster, command, configfile, lock, manifest, shipped, storage
from tfforensics.command import UsageError
from tfforensics.config import Config
from tfforensics.run import Run, at
from tfforensics.storage import Folder
from tfforensics.workdir import set_aside, take_up

if TYPE_CHECKING:
    from tfforensics.ema import AveragedWeights
    from tfforensics.models.detector import Detector
    from tfforensics.replicas import Replicas
    from tfforensics.resume import Batches, ResumableFit
    from tfforensics.tensorboard import Board

_log = logging.getLogger("tfforensics.train")  # as a program, __name__ is "__main__"


def train(config: Config, workdir: Folder, *, override: bool = False) -> dict[str, Any]:
    """Trains, validates, evaluates and exports one experiment, or what is left of it.

    Args:
        config: the experiment.
        workdir: its run directory; where it holds a run of the same configuration, that goes on.
            In object storage it has what each checkpoint and the end leave.
        override: go on with a changed configuration.

    Returns:
        What `metrics.json` then holds: the history and the final figures (the history alone on
        a worker that is not the chief).

    Raises:
        UsageError: impossible settings, or the workdir holds another run.
        PeerLostError: another worker of TF_CONFIG is gone.
        DataError: records that cannot be used; the training diverged; the disk is full; another
            process has taken up the run in object storage.
        OSError: object storage refuses.
        Stopped: by a signal or the time budget, after a checkpoint.
    """
    from tfforensics.demo import record
    from tfforensics.replicas import join

    _check(config)
    workers = cluster.from_environment()
    if workers is None or workers.chief:
        record.build(config)
    with join(config, workers) as replicas, contextlib.ExitStack() as held:
        to: Literal["write", "follow"] = "write" if replicas.chief else "follow"
        run = held.enter_context(at(workdir, "--workdir", to))
        if replicas.chief:
            held.enter_context(lock.hold(run.folder))
        take_up(run, config, override, replicas)
        if _has_backbone_phase(config):
            first, first_run = _backbone_phase(config, run)
            take_up(first_run, first, override, replicas)
            _fit(first, first_run, replicas)
            history = _fit(config, run, replicas, initial=first_run)
        else:
            initial = config.model.initial
            start = None if initial is None else held.enter_context(_initial(initial))
            history = _fit(config, run, replicas, initial=start)
        return _finish(config, run, history) if replicas.chief else {"history": history}


def _finish(config: Config, run: Run, history: list[dict[str, float]]) -> dict[str, Any]:
    """Evaluates and exports a run that is trained."""
    from tfforensics.evaluate import evaluate
    from tfforensics.export import export

    final = evaluate(run)
    run.publish()
    metrics = {"history": history, "test": final}
    if config.evaluation.export and not _is_written(run.metrics_file, metrics):
        made = export(run.folder, run.export)
        _log.info("%s/export/%s: a SavedModel for TF Serving", run, made.folder.name)
    manifest.write_json(run.metrics_file, metrics)  # last: where it stands, all is done
    run.publish()
    return metrics


def _initial(place: str) -> contextlib.AbstractContextManager[Run]:
    """The run whose weights another begins with."""
    found = storage.folder(place, "model.initial")
    return at(shipped.resolve(found) if isinstance(found, Path) else found, "model.initial")


def _is_written(path: Path, body: dict[str, Any]) -> bool:
    """Whether a JSON file holds just that."""
    return path.is_file() and json.loads(path.read_text()) == json.loads(json.dumps(body))


def _check(config: Config) -> None:
    """Refuses, before anything is written, what does not fit together or this machine."""
    import tensorflow as tf

    steps = config.train.steps
    if _has_backbone_phase(config):
        steps = min(steps, config.attention.backbone_steps)
    if config.optimizer.warmup >= steps:
        raise UsageError(
            f"optimizer.warmup: expected fewer than the {steps} training steps, got "
            f"{config.optimizer.warmup}"
        )
    if config.train.jit_compile and not tf.config.list_physical_devices("GPU"):
        raise UsageError(
            "train.jit_compile: expected false on a machine without a GPU, where XLA is several "
            "times slower, got true"
        )


def _has_backbone_phase(config: Config) -> bool:
    return config.model.detector == "multi_attention" and config.attention.backbone_steps > 0


def _backbone_phase(config: Config, run: Run) -> tuple[Config, Run]:
    """The plain detector that multi-attention starts from, and its run inside of the other's."""
    plain = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, detector="plain"),
        attention=dataclasses.replace(config.attention, backbone_steps=0),
        train=dataclasses.replace(config.train, steps=config.attention.backbone_steps),
    )
    return plain, run.backbone


def _fit(
    config: Config, run: Run, replicas: Replicas, initial: Run | None = None
) -> list[dict[str, float]]:
    """Trains to the last step of `config`; a run that begins takes the weights of `initial`."""
    import tensorflow as tf
    import tf_keras as keras

    from tfforensics.checkpoint import CheckpointStore
    from tfforensics.ema import AveragedWeights
    from tfforensics.models import build_detector, start_from
    from tfforensics.optimizers import from_config, resolve_precision
    from tfforensics.resume import ResumableFit
    from tfforensics.source import Source
    from tfforensics.validation import MONITOR

    settings = config.train
    source = Source(config, replicas.share)
    keras.utils.set_random_seed(settings.seed)
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    precision = resolve_precision(settings.precision)
    keras.mixed_precision.set_global_policy(precision)

    store = CheckpointStore(run.checkpoints, keep=settings.keep, after_save=run.publish)
    with replicas.strategy.scope():
        detector = build_detector(config)
    if initial is not None and not store.steps():
        # Before anything copies the weights, as averages and Lookahead do.
        start_from(initial.load_network(), detector.network)
    with replicas.strategy.scope():
        detector.compile(
            from_config(config, precision),
            jit_compile=settings.jit_compile,
            steps_per_execution=settings.steps_per_execution,
        )
    ema = config.optimizer.ema
    averages = None if ema is None else AveragedWeights(detector, ema)
    with replicas.strategy.scope():
        fit = ResumableFit(
            detector,
            store,
            steps=settings.steps,
            validate_every=settings.validate_every,
            monitor=MONITOR,
            save_every=settings.save_every,
            patience=settings.patience,
            max_hours=settings.max_hours,
            more={} if averages is None else {"averages": averages},
            replicas=replicas,
        )
    progress = fit.restore()
    replicas.agree("--workdir: the last checkpoint's step", progress.step)
    if progress.step and replicas.chief:
        _log.info("%s: going on from step %d of %d", run, progress.step, settings.steps)

    def batches(step: int) -> tf.data.Dataset:
        return replicas.distribute(lambda: source.batches(step))

    try:
        if replicas.chief:
            history = _fit_and_show(
                fit,
                config,
                run,
                detector=detector,
                batches=batches,
                averages=averages,
                clock=replicas.count == 1 and not settings.deterministic,
            )
        else:
            callbacks = [] if averages is None else [averages.callback()]
            history = fit.fit(batches, lambda watch: {}, callbacks=callbacks)
    except tf.errors.OpError as error:
        reason = source.explained(error)
        if reason is None:
            raise
        raise reason from error
    replicas.wait()  # for the last checkpoint
    if not replicas.chief:
        run.refresh()
    return history


def _fit_and_show(
    fit: ResumableFit,
    config: Config,
    run: Run,
    *,
    detector: Detector,
    batches: Batches,
    averages: AveragedWeights | None,
    clock: bool,
) -> list[dict[str, float]]:
    """Trains with all that a run writes and says beside its checkpoints.

    Args:
        clock: whether to time the wait for batches, which belong to this process then.
    """
    from tfforensics.progress import InputWait, ProgressLine
    from tfforensics.tensorboard import Board
    from tfforensics.validation import Validation

    progress, size, steps = fit.progress, config.data.batch, config.train.steps
    wait = InputWait() if clock else None
    board = Board(run.tensorboard, progress, batch=size, wait=wait)
    line = ProgressLine(progress, steps=steps, batch=size, wait=wait)
    callbacks = [] if averages is None else [averages.callback()]
    if not progress.step:
        _describe(config, board)
    try:
        return fit.fit(
            batches if wait is None else lambda step: wait.watch(batches(step)),
            Validation(detector.network, config, averages, board),
            callbacks=[*callbacks, board, line],
            before_save=board.flush,
        )
    finally:
        line.close()
        board.close()


def _describe(config: Config, board: Board) -> None:
    """Shows TensorBoard the settings and the first faces of the run."""
    from tfforensics import degradation, figures, pipeline
    from tfforensics.validation import MONITOR

    plain = configfile.to_dict(config)
    board.settings(
        yaml.safe_dump(plain, sort_keys=False),
        configfile.flat(plain),
        metric=MONITOR.removeprefix("val_"),
    )
    x, y = next(iter(pipeline.training_batches(config).take(1)))
    names = degradation.level_names(config.degrade, x["seed"])
    captions = [
        f"{'manipulated' if label else 'real'}, {name}"
        for label, name in zip(y, names, strict=True)
    ]
    board.image("training/faces", figures.face_grid(x["image"].numpy()[:16], captions[:16]))


def _arguments(arguments: Sequence[str] | None) -> tuple[Config, Folder, Any]:
    given = sys.argv[1:] if arguments is None else list(arguments)
    first = command.Parser(prog="python -m tfforensics.train", add_help=False)
    first.add_argument("--config", type=Path, default=configfile.DEFAULT)
    file, rest = first.parse_known_args(given)

    parser = configfile.argument_parser(
        prog="python -m tfforensics.train",
        description="Train the detector of a configuration; run again, it goes on.",
    )
    # Read above; here for the help.
    parser.add_argument("--config", metavar="FILE", help=f"default: {configfile.DEFAULT.name}")
    parser.add_argument(
        "--workdir",
        metavar="DIR",
        help="default: runs/ and the config's name; with the extra io also s3://bucket/run",
    )
    parser.add_argument(
        "--override-resume", action="store_true", help="go on with a changed configuration"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="start anew; the run that is there gets another name"
    )
    config, options = configfile.parse(rest, parser, configfile.read(file.config))
    workdir = storage.folder(options.workdir or f"runs/{file.config.stem}", "--workdir")
    return config, workdir, options


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    config, workdir, options = _arguments(arguments)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("tfforensics").setLevel(logging.INFO)
    command.start_tensorflow()
    from tfforensics.evaluate import report
    from tfforensics.peers import AGAIN, PeerLostError
    from tfforensics.stopping import Stopped

    workers = cluster.from_environment()
    if options.fresh and (workers is None or workers.chief):
        set_aside(workdir)
    try:
        metrics = train(config, workdir, override=options.override_resume)
    except Stopped as stopped:
        print(f"{stopped}; run the same command to go on", file=sys.stderr)
        return stopped.exit_status
    except PeerLostError as lost:
        print(f"{lost}; run the same command again", file=sys.stderr, flush=True)
        os._exit(AGAIN)  # TensorFlow would wait for the lost one
    if "test" in metrics:
        print(report(metrics["test"]))
    return 0


if __name__ == "__main__":
    command.run(main, "python -m tfforensics.train")
