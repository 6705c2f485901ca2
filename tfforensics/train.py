"""Trains the detector of a configuration; run again, it goes on where it stopped.

python -m tfforensics.train [--config FILE] [--SECTION.KEY VALUE ...] [--workdir DIR]
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfforensics import command, configfile, lock, manifest
from tfforensics.command import UsageError
from tfforensics.config import Config
from tfforensics.run import Run

if TYPE_CHECKING:
    import tf_keras as keras

_log = logging.getLogger(__name__)
MONITOR = "val_auc"  # mean frame AUC over `train.validate_levels`


def train(config: Config, workdir: Path, *, override: bool = False) -> dict[str, Any]:
    """Trains, validates, evaluates and exports one experiment, or what is left of it.

    Args:
        config: the experiment.
        workdir: its run directory; where it holds a run of the same configuration, that goes on.
        override: go on with a changed configuration.

    Returns:
        What `metrics.json` then holds: the history and the final figures.

    Raises:
        UsageError: impossible settings, or the workdir holds another run.
        DataError: records that cannot be used; the training diverged; the disk is full.
        Stopped: by a signal or the time budget, after a checkpoint.
    """
    from tfforensics.evaluate import evaluate

    _build_demo(config)
    run = Run(workdir)
    with lock.hold(workdir):
        _take_up(run, config, override)
        history = _fit(config, run)
        final = evaluate(run)
        metrics = {"history": history, "test": final}
        manifest.write_json(run.metrics_file, metrics)
    return metrics


def _fit(config: Config, run: Run) -> list[dict[str, float]]:
    import tensorflow as tf
    import tf_keras as keras

    from tfforensics import pipeline
    from tfforensics.checkpoint import CheckpointStore
    from tfforensics.command import DataError
    from tfforensics.models import build_detector
    from tfforensics.optimizers import Schedule, build_optimizer, resolve_precision
    from tfforensics.resume import ResumableFit

    keras.utils.set_random_seed(config.train.seed)
    if config.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    precision = resolve_precision(config.train.precision)
    keras.mixed_precision.set_global_policy(precision)
    detector = build_detector(config)
    rule = config.optimizer
    schedule = Schedule(
        rule.learning_rate,
        rule.schedule,
        steps=config.train.steps,
        warmup=rule.warmup,
        decay=rule.decay,
        decay_every=rule.decay_every,
    )
    detector.compile(
        build_optimizer(
            rule.name,
            schedule,
            weight_decay=rule.weight_decay,
            clip_norm=rule.clip_norm,
            precision=precision,
            jit_compile=config.train.jit_compile,
        ),
        jit_compile=config.train.jit_compile,
        steps_per_execution=config.train.steps_per_execution,
    )
    fit = ResumableFit(
        detector,
        CheckpointStore(run.checkpoints, keep=config.train.keep),
        steps=config.train.steps,
        validate_every=config.train.validate_every,
        monitor=MONITOR,
        save_every=config.train.save_every,
        patience=config.train.patience,
        max_hours=config.train.max_hours,
    )
    start = fit.restore().step
    if start:
        _log.info("%s: going on from step %d of %d", run.folder, start, config.train.steps)
    try:
        return fit.fit(
            lambda step: pipeline.training_batches(config, step),
            lambda callback: validate(detector.network, config, callback),
        )
    except tf.errors.DataLossError as error:
        raise DataError(pipeline.damage(Path(config.data.records))) from error


def validate(
    network: keras.Model, config: Config, callback: keras.callbacks.Callback
) -> dict[str, float]:
    """Frame AUC on the validation split by level, and MONITOR, their mean.

    Args:
        callback: its `on_predict_batch_end` is called after each batch.
    """
    from tfforensics.metrics import average, measure
    from tfforensics.pipeline import evaluation_batches
    from tfforensics.scoring import inference, score

    logits = inference(network)
    figures = {}
    for level in config.train.validate_levels:
        batches = evaluation_batches(
            Path(config.data.records),
            "val",
            level,
            size=config.data.size,
            batch=config.data.batch,
            manipulations=config.data.manipulations,
        )
        scores = score(
            logits,
            batches,
            "val",
            after_batch=lambda faces: callback.on_predict_batch_end(0, {"faces": faces}),
        )
        found = measure(scores)
        figures[f"val_auc/{level}"] = float("nan") if found is None else found.auc
    return {MONITOR: average(list(figures.values()))} | figures


def _build_demo(config: Config) -> None:
    """Builds the embedded default data where the configuration asks for it and it is not there."""
    records = Path(config.data.records)
    if not config.demo.build or (records / manifest.NAME).is_file():
        return
    from tfforensics import demo
    from tfforensics.ffpp import find_clips
    from tfforensics.records import build, summary

    settings = config.demo
    media = records.with_name(f"{records.name}-media")
    demo.build(
        media,
        identities={"train": settings.train, "val": settings.val, "test": settings.test},
        seconds=settings.seconds,
        fps=settings.fps,
        seed=settings.seed,
        portraits=None if settings.portraits is None else Path(settings.portraits),
    )
    stored = manifest.Settings(
        levels=settings.levels,
        encoder=config.evaluation.encoder,
        frames=(("", settings.frames),),
        size=settings.size,
    )
    done = build(find_clips(media), records, stored, workers=command.cores())
    print(summary(done, records), file=sys.stderr)


def _take_up(run: Run, config: Config, override: bool) -> None:
    """Writes config.yaml, or checks that the one there is of the same experiment."""
    if run.config_file.is_file():
        changed = configfile.differences(run.config(), config)
        if changed and not override:
            raise UsageError(
                f"--workdir: {run.folder} holds a run with other settings "
                f"({'; '.join(changed)}); name another folder, or pass --override-resume"
            )
    run.save_config(config)


def _arguments(arguments: Sequence[str] | None) -> tuple[Config, Any]:
    given = sys.argv[1:] if arguments is None else list(arguments)
    first = command.Parser(add_help=False)
    first.add_argument("--config", type=Path, default=configfile.DEFAULT)
    file, rest = first.parse_known_args(given)

    parser = configfile.argument_parser(
        prog="python -m tfforensics.train",
        description="Train the detector of a configuration; run again, it goes on.",
    )
    # Read above; here for the help.
    parser.add_argument("--config", metavar="FILE", help=f"default: {configfile.DEFAULT.name}")
    parser.add_argument("--workdir", metavar="DIR", help="default: runs/ and the config's name")
    parser.add_argument(
        "--override-resume", action="store_true", help="go on with a changed configuration"
    )
    config, options = configfile.parse(rest, parser, configfile.read(file.config))
    return config, (Path(options.workdir or f"runs/{file.config.stem}"), options.override_resume)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    config, (workdir, override) = _arguments(arguments)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("tfforensics").setLevel(logging.INFO)
    command.start_tensorflow()
    from tfforensics.evaluate import report
    from tfforensics.stopping import Stopped

    try:
        metrics = train(config, workdir, override=override)
    except Stopped as stopped:
        print(f"{stopped}; run the same command to go on", file=sys.stderr)
        return stopped.exit_status
    print(report(metrics["test"]))
    return 0


if __name__ == "__main__":
    command.run(main, "python -m tfforensics.train")
