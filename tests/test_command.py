"""Commands: exit statuses, one-line errors, quick help, one Keras in the process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tfforensics import command, evaluate, records, train
from tfforensics.__main__ import COMMANDS

REPOSITORY = Path(__file__).parents[1]


def run_python(*arguments):
    """Runs a fresh interpreter that knows nothing of TF_USE_LEGACY_KERAS."""
    inherited = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=inherited | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def commands():
    """Modules that can be run, and the package itself."""
    return ["tfforensics", *(f"tfforensics.{name}" for name in COMMANDS)]


def outcome_of(main):
    """The exit status of `command.run`."""
    with pytest.raises(SystemExit) as ended:
        command.run(main, "prog")
    return ended.value.code


def raising(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (command.UsageError("--size: expected 1, got 2"), 2, "prog: --size: expected 1, got 2\n"),
        (command.DataError("a/b: cut off"), 1, "prog: a/b: cut off\n"),
        (KeyboardInterrupt(), 130, "prog: interrupted\n"),
    ],
)
def test_an_expected_failure_is_one_line_on_stderr_and_its_status(capsys, error, status, line):
    assert outcome_of(raising(error)) == status
    assert capsys.readouterr() == ("", line)


def test_the_status_of_main_is_the_exit_status(capsys):
    assert outcome_of(lambda: None) == 0
    assert outcome_of(lambda: 3) == 3
    assert capsys.readouterr() == ("", "")


def test_an_unexpected_failure_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        command.run(raising(ZeroDivisionError()), "prog")


def test_a_parser_says_what_is_wrong_in_one_line(capsys):
    parser = command.Parser(prog="prog")
    parser.add_argument("--count", type=int)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--count", "many"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "prog: argument --count: invalid int value: 'many'\n"


def test_cores_are_those_that_this_process_may_use():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert command.cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert command.cores() == len(allowed)


HEAVY = {"tensorflow", "tf_keras", "keras", "numpy", "cv2", "av", "PIL", "matplotlib"}


@pytest.mark.parametrize("module", commands())
def test_help_is_quick_and_imports_nothing_heavy(module):
    # Processor time, and the best of three: the machine may be busy with something else.
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run_python("-X", "importtime", "-m", module, "--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0, done.stderr[-300:]
        assert done.stdout.startswith("usage: python -m tfforensics")
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "argparse" in imported
        assert not HEAVY & imported
        if seconds[-1] < 0.5:
            break
    assert min(seconds) < 0.5


def test_the_package_lists_exactly_the_commands_that_there_are():
    modules = (REPOSITORY / "tfforensics").rglob("*.py")
    runnable = {p for p in modules if '__name__ == "__main__"' in p.read_text()}
    names = [
        ".".join(p.relative_to(REPOSITORY / "tfforensics").with_suffix("").parts) for p in runnable
    ]
    assert {name.removesuffix(".__main__") for name in names} - {"__main__"} == set(COMMANDS)


def test_the_package_takes_no_command_as_an_argument():
    done = run_python("-m", "tfforensics", "records")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "python -m tfforensics: unrecognized arguments: records\n"


MISTAKES = [
    (records, [], "the following arguments are required: --root, --out"),
    (records, ["--root", "none", "--out", "x"], "--root: expected a FaceForensics++ folder with"),
    (records, ["--root", ".", "--out", "x", "--layout", "folders"], "--root: expected real/ and"),
    (records, ["--root", ".", "--out", "x", "--frames", "0"], "--frames: expected a whole number"),
    (records, ["--root", ".", "--out", "x", "--workers", "-1"], "--workers: expected a whole num"),
    (records, ["--root", ".", "--out", "x", "--levels", "c5"], "--levels: invalid choice: 'c5'"),
    (
        records,
        ["--root", ".", "--out", "x", "--frames-for", "A"],
        "--frames-for: expected NAME=N, e.g. NeuralTextures=64, got 'A'",
    ),
    (records, ["--root", ".", "--out", "x", "--margin", "9"], "--margin: expected 1 to 3, got 9.0"),
    (records, ["--root", ".", "--out", "x", "--margin", "nan"], "--margin: expected 1 to 3, got n"),
    (records, ["--root", ".", "--out", "x", "--size", "8"], "--size: expected 32 to 1024 pixels"),
    (train, ["--config", "none.yaml"], "--config: cannot read none.yaml: No such file"),
    (train, ["--config", "."], "--config: cannot read .: Is a directory"),
    (train, ["--config"], "--config: expected one argument"),
    (train, ["--data.batsh", "3"], "unknown option --data.batsh; allowed: --data.records, "),
    (train, ["--date.batch", "3"], "unknown option --date.batch; allowed: --data.KEY, --degrade"),
    (train, ["--nonsense", "3"], "--nonsense"),
    (train, ["nonsense"], "nonsense"),
    (train, ["--data.batch"], "--data.batch: expected one argument"),
    (train, ["--data.batch", "x"], "data.batch: expected int, got x"),
    (train, ["--data.batch", "0"], "data.batch: expected at least 1, got 0"),
    (evaluate, ["nowhere"], "nowhere: expected a run directory, found no config.yaml"),
    (evaluate, ["x", "--split", "all"], "--split: invalid choice: 'all'"),
]


@pytest.mark.parametrize(("module", "arguments", "expected"), MISTAKES)
def test_a_users_mistake_is_one_line_and_status_2(  # noqa: PLR0917
    tmp_path, monkeypatch, capsys, module, arguments, expected
):
    monkeypatch.chdir(tmp_path)
    prog = f"python -m {module.__name__}"
    with pytest.raises(SystemExit) as ended:
        command.run(lambda: module.main(arguments), prog)
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert expected in err
    assert err.startswith(f"{prog}: ")
    assert err.count("\n") == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == []


KERAS_CLASSES = """
import tfforensics
import tensorflow as tf
import tf_keras
import keras_cv
from mtcnn.stages import StagePNet
from tfforensics.models import dropout

found = {
    "tf.keras": tf.keras.layers.Dense,
    "keras_cv": keras_cv.layers.RandomHue,
    "mtcnn": type(StagePNet().model),
    "ours": dropout.Dropout,
}
for name, layer in found.items():
    modules = {c.__module__.partition(".")[0] for c in layer.__mro__}
    assert "keras" not in modules, (name, layer.__mro__)
    assert issubclass(layer, tf_keras.layers.Layer), (name, layer.__mro__)
"""


def test_there_is_one_keras_in_the_process():
    done = run_python("-c", KERAS_CLASSES)
    assert done.returncode == 0, done.stderr[-600:]


def test_a_process_that_runs_on_keras_3_is_refused():
    done = run_python("-c", "import tensorflow as tf; tf.keras.layers; import tfforensics")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "ImportError: TensorFlow already runs on Keras 3 in this process: import tfforensics before"
    )


def test_importing_the_package_imports_no_tensorflow():
    done = run_python("-c", "import sys, tfforensics; print('tensorflow' in sys.modules)")
    assert done.stdout.strip() == "False"
