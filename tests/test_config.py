"""Settings: files, bases, the command line, and what is said of a mistake."""

from __future__ import annotations

import dataclasses

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tfforensics import configfile
from tfforensics.command import UsageError
from tfforensics.config import (
    Augment,
    Config,
    Data,
    Degrade,
    Demo,
    Evaluation,
    Model,
    Optimizer,
    Train,
)
from tfforensics.jpeg import LEVELS


def parsed(*arguments, given=None):
    return configfile.parse(arguments, configfile.argument_parser(), given)[0]


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_no_settings_are_the_defaults():
    assert parsed() == Config()


def test_the_command_line_goes_over_the_file_and_the_file_over_the_defaults(write):
    path = write("a.yaml", "data: {batch: 3, size: 64}\ntrain: {steps: 7}")
    config = parsed("--data.batch", "5", "--data.real_share=0.25", given=configfile.read(path))
    assert config.data == Data(batch=5, size=64, real_share=0.25)
    assert config.train == Train(steps=7)
    assert config.model == Model()


def test_every_kind_of_value_can_be_given_on_the_command_line():
    config = parsed(
        *("--degrade.levels", "{c23: 2, c40: 1}"),
        *("--degrade.quality", "[20, 50]"),
        *("--data.manipulations", "[Deepfakes, FaceSwap]"),
        *("--model.weights", "null"),
        *("--train.max_hours", "1.5"),
        *("--train.deterministic", "false"),
        *("--optimizer.learning_rate", "1e-3"),
        *("--train.precision", "mixed_float16"),
    )
    assert config.degrade.levels == {"c23": 2.0, "c40": 1.0}
    assert config.degrade.quality == (20, 50)
    assert config.data.manipulations == ("Deepfakes", "FaceSwap")
    assert config.model.weights is None
    assert config.train == Train(max_hours=1.5, deterministic=False, precision="mixed_float16")
    assert config.optimizer.learning_rate == 0.001


def test_a_variant_changes_single_keys_of_its_base_but_replaces_a_mapping_whole(write):
    write("base.yaml", "data: {batch: 3, size: 64}\ndegrade: {levels: {c0: 1, c40: 1}}")
    write("middle.yaml", "base: base.yaml\ndata: {size: 96}\ntrain: {steps: 9}")
    last = write("last.yaml", "base: middle.yaml\ndegrade: {levels: {c85: 1}}\ntrain: {keep: 1}")
    assert configfile.read(last) == {
        "data": {"batch": 3, "size": 96},
        "degrade": {"levels": {"c85": 1}},
        "train": {"steps": 9, "keep": 1},
    }


def test_a_base_lies_beside_the_file_that_names_it(write, tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    write("base.yaml", "data: {batch: 3}")
    path = write("inner/a.yaml", "base: ../base.yaml")
    monkeypatch.chdir("/")
    assert configfile.read(path) == {"data": {"batch": 3}}


@pytest.mark.parametrize("path", sorted(configfile.CONFIGS.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_config_loads_and_says_what_it_is(path):
    config = parsed(given=configfile.read(path))
    assert isinstance(config, Config)
    head = path.read_text().splitlines()[0]
    assert head.startswith("# ")


def test_the_default_config_is_shipped_and_builds_the_demo():
    assert parsed(given=configfile.read(configfile.DEFAULT)).demo.build


SECTIONS = ", ".join(field.name for field in dataclasses.fields(Config))
DATA_KEYS = "records, manipulations, level, size, batch, real_share, selfblend, service"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1", "{path}: expected sections with keys, got list"),
        ("data: 3", "{path}: data: expected keys and values, got 3"),
        ("data:", "{path}: data: expected keys and values, got None"),
        ("dta: {}", "{path}: unknown key 'dta'; allowed: " + SECTIONS),
        ("1: 2", "{path}: unknown key 1; allowed: " + SECTIONS),
        ("data: {batsh: 3}", "{path}: data: unknown key 'batsh'; allowed: " + DATA_KEYS),
        ("data: {batch: null}", "{path}: data: batch: expected a value, got null"),
        ("data: {batch: 3}\ndata: {size: 64}", "{path}: not YAML: data is there twice"),
        ("data: {batch: 3, batch: 4}", "{path}: not YAML: batch is there twice"),
        ("base: 3", "{path}: base: expected a file name, got 3"),
        ("base: none.yaml", "--config: cannot read {folder}/none.yaml: No such file or directory"),
        ("base: a.yaml", "{path}: `base` goes round in a circle"),
        ("base: ../{name}/a.yaml", "{folder}/../{name}/a.yaml: `base` goes round in a circle"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_names_the_file(write, text, message):
    path = write("a.yaml", "")
    places = {"path": path, "folder": path.parent, "name": path.parent.name}
    for key, value in places.items():
        text, message = (s.replace(f"{{{key}}}", str(value)) for s in (text, message))
    path.write_text(text)
    with pytest.raises(UsageError) as raised:
        configfile.read(path)
    assert str(raised.value) == message


@pytest.mark.parametrize("text", [b"data: {batch: 3", b"\xff\xfe\x00", b"a: !!python/name:os.x 3"])
def test_what_is_not_plain_yaml_is_refused(write, text):
    path = write("a.yaml", text)
    with pytest.raises(UsageError) as raised:
        configfile.read(path)
    assert str(raised.value).startswith(f"{path}: not YAML: ")
    assert "\n" not in str(raised.value)


def test_two_files_that_are_each_others_base_are_refused(write):
    write("a.yaml", "base: b.yaml")
    with pytest.raises(UsageError, match=r"b\.yaml: `base` goes round in a circle$"):
        configfile.read(write("b.yaml", "base: a.yaml"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data.batch", "x", "expected int, got x"),
        ("data.batch", "3.0", "expected int, got 3.0"),
        ("data.batch", "true", "expected int, got True"),
        ("data.batch", "null", "expected int, got None"),
        ("data.batch", "0", "expected at least 1, got 0"),
        ("data.size", "8", "expected 16 to 1024 pixels, got 8"),
        ("data.size", "1025", "expected 16 to 1024 pixels, got 1025"),
        ("data.real_share", "1", "expected 0.001 to 0.999, got 1.0"),
        ("data.real_share", "0.0001", "expected 0.001 to 0.999, got 0.0001"),
        ("data.level", "c5", f"expected one of {list(LEVELS)}, got c5"),
        ("data.manipulations", "A", "expected list, got A"),
        ("degrade.levels", "{c5: 1}", f"expected levels of {', '.join(LEVELS)}, got 'c5'"),
        ("degrade.levels", "{}", "expected frequencies of at least 0, not all 0, got {}"),
        ("degrade.levels", "{c0: 0}", "expected frequencies of at least 0, not all 0, got"),
        ("degrade.levels", "{c0: 2, c23: -1}", "expected frequencies of at least 0, not all 0"),
        ("degrade.levels", "{c0: x}", "expected float, got x"),
        ("degrade.levels", "3", "expected dict, got 3"),
        ("degrade.quality", "[50, 20]", "expected [lowest, highest] within 1 to 100, got [50, 20]"),
        ("degrade.quality", "[0, 20]", "expected [lowest, highest] within 1 to 100, got [0, 20]"),
        ("degrade.quality", "[9, 101]", "expected [lowest, highest] within 1 to 100, got [9, 101]"),
        ("degrade.quality", "[1, 2, 3]", "expected [int, int] or null, got [1, 2, 3]"),
        ("degrade.quality", "[1.5, 2]", "expected [int, int] or null, got [1.5, 2]"),
        ("degrade.quality", "{a: 1}", "expected [int, int] or null, got {'a': 1}"),
        ("degrade.resize", "1.5", "expected 0 to 1, got 1.5"),
        ("degrade.resize_to", "[0, 1]", "expected [smallest, largest] within 0 to 1, got [0.0, 1"),
        ("degrade.resize_to", "[0.9, 0.5]", "expected [smallest, largest] within 0 to 1, got ["),
        ("degrade.resize_to", "[0.5, 1.1]", "expected [smallest, largest] within 0 to 1, got ["),
        ("degrade.resize_to", "[1]", "expected list with 2 elements, got [1]"),
        ("degrade.twice", "-0.1", "expected 0 to 1, got -0.1"),
        ("augment.brightness", "1", "expected 0 up to 1, got 1.0"),
        ("augment.contrast", "-1", "expected 0 up to 1, got -1.0"),
        ("augment.saturation", "2", "expected 0 up to 1, got 2.0"),
        ("augment.hue", "nan", "expected float, got nan"),
        ("model.detector", "x", "expected one of ['plain', 'multi_attention', 'meso4', 'mesoince"),
        ("model.dropout", "1", "expected 0 up to 1, got 1.0"),
        ("model.drop_connect", "-1", "expected 0 up to 1, got -1.0"),
        ("attention.maps", "0", "expected at least 1, got 0"),
        ("optimizer.name", "x", "expected one of ['adam', 'adamw', 'sgd', 'lamb', 'radam_lookahe"),
        ("optimizer.learning_rate", "0", "expected above 0 and below 10, got 0.0"),
        ("optimizer.learning_rate", "1e400", "got"),
        ("optimizer.warmup", "-1", "expected at least 0, got -1"),
        ("optimizer.decay", "0", "expected above 0 and at most 1, got 0.0"),
        ("optimizer.decay_every", "0", "expected at least 1, got 0"),
        ("optimizer.weight_decay", "-1", "expected at least 0, got -1.0"),
        ("optimizer.clip_norm", "0", "expected above 0 or null, got 0.0"),
        ("optimizer.ema", "1", "expected between 0 and 1, or null, got 1.0"),
        ("train.steps", "0", "expected at least 1, got 0"),
        ("train.save_every", "0", "expected at least 1, got 0"),
        ("train.keep", "0", "expected at least 1, got 0"),
        ("train.validate_every", "0", "expected at least 1, got 0"),
        ("train.steps_per_execution", "0", "expected at least 1, got 0"),
        ("train.patience", "0", "expected above 0, or null, got 0"),
        ("train.patience", "x", "expected int or null, got x"),
        ("train.max_hours", "0", "expected above 0, or null, got 0.0"),
        ("train.seed", "-1", "expected 0 to 4294967295, got -1"),
        ("train.seed", "4294967296", "expected 0 to 4294967295, got 4294967296"),
        ("train.validate_levels", "[]", "expected at least one level, each of them once, got []"),
        ("train.validate_levels", "[c7]", f"expected one of {list(LEVELS)}, got c7"),
        (
            "train.precision",
            "half",
            "expected one of ['auto', 'float32', 'mixed_float16', 'mixed_b",
        ),
        ("evaluation.levels", "[c0, c0]", "expected at least one level, each of them once, got ["),
        ("evaluation.encoder", "x", "expected one of ['turbo', 'mozjpeg'], got x"),
        ("demo.levels", "[c23, c0]", "expected c0 first, got ['c23', 'c0']"),
        ("demo.levels", "[]", "expected at least one level, each of them once, got []"),
        ("demo.frames", "0", "expected at least 1, got 0"),
        ("demo.size", "8", "expected 32 to 1024 pixels, got 8"),
    ],
)
def test_an_impossible_value_is_one_line_that_names_the_key(key, value, message):
    with pytest.raises(UsageError) as raised:
        parsed(f"--{key}", value)
    assert str(raised.value).startswith(f"{key}: ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.batsh", "3"], "unknown option --data.batsh; allowed: --data.records, --data.man"),
        (["--data.bat", "3"], "unknown option --data.bat; allowed: --data.records, --data.man"),
        (["--data", "{batch: 3}"], "unknown option --data; allowed: --data.records, --data.mani"),
        (["--date.batch=3"], "unknown option --date.batch; allowed: --data.KEY, --degrade.KEY, "),
        (["--degrade.levels.c0", "3"], "unknown option --degrade.levels.c0; allowed: --degrade.l"),
        (["--nonsense", "3"], "unrecognized arguments: --nonsense 3"),
        (["nonsense"], "unrecognized arguments: nonsense"),
        (["--data.batch"], "argument --data.batch: expected one argument"),
    ],
)
def test_an_unknown_option_is_one_line_that_lists_what_is_allowed(arguments, message):
    with pytest.raises(UsageError) as raised:
        parsed(*arguments)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


shares = st.floats(0, 1, exclude_max=True)
above_0 = st.floats(0, 9, exclude_min=True)
counts = st.integers(1, 10**9)
levels = st.lists(st.sampled_from(LEVELS), min_size=1, unique=True).map(tuple)
# Names that YAML or a command line could take for something else.
names = st.sampled_from(["a", "null", "3", "1e3", "true", "[a]", "{a: 1}", "ä b", "- a", "a: b"])
files = st.sampled_from(["a", "ä b.h5", "x/y: z", "- a", "1e3", "[a]"])
configs = st.builds(
    Config,
    data=st.builds(
        Data,
        records=names,
        manipulations=st.lists(names).map(tuple),
        level=st.sampled_from(LEVELS),
        size=st.integers(16, 1024),
        batch=counts,
        real_share=st.floats(0.001, 0.999),
    ),
    degrade=st.builds(
        Degrade,
        levels=st.dictionaries(st.sampled_from(LEVELS), above_0, min_size=1),
        quality=st.none() | st.tuples(st.integers(1, 50), st.integers(50, 100)),
        twice=shares,
    ),
    augment=st.builds(Augment, flip=st.booleans(), brightness=shares, hue=shares),
    model=st.builds(Model, detector=st.sampled_from(["plain", "meso4"]), weights=st.none() | files),
    optimizer=st.builds(
        Optimizer, learning_rate=above_0, clip_norm=st.none() | above_0, warmup=counts
    ),
    train=st.builds(
        Train,
        steps=counts,
        validate_levels=levels,
        patience=st.none() | counts,
        max_hours=st.none() | above_0,
        seed=st.integers(0, 2**32 - 1),
        deterministic=st.booleans(),
    ),
    evaluation=st.builds(Evaluation, levels=levels, encoder=st.sampled_from(["turbo", "mozjpeg"])),
    demo=st.builds(Demo, portraits=st.none() | files, seconds=above_0),
)


@given(configs)
@settings(max_examples=30, deadline=None, phases=[Phase.generate])  # shrinking takes minutes
def test_a_configuration_survives_the_way_through_a_file(config):
    text = yaml.safe_dump(configfile.to_dict(config), sort_keys=False)
    assert configfile.from_dict(yaml.safe_load(text)) == config


def test_a_file_from_another_version_is_refused_by_its_name():
    with pytest.raises(UsageError, match=r"^run/config\.yaml: train: unknown key 'stops'; allowed"):
        configfile.from_dict({"train": {"stops": 3}}, "run/config.yaml")


def test_differences_name_the_keys_and_both_values():
    old = Config(degrade=Degrade(levels={"c0": 1.0, "c23": 1.0}))
    new = dataclasses.replace(
        old,
        train=Train(steps=7, validate_levels=("c0",)),
        degrade=Degrade(levels={"c0": 1.0, "c40": 2.0}),
    )
    assert configfile.differences(old, new) == [
        "degrade.levels.c23: 1.0 -> None",
        "degrade.levels.c40: None -> 2.0",
        "train.steps: 20000 -> 7",
        "train.validate_levels: ['c0', 'c40', 'c85'] -> ['c0']",
    ]
    assert configfile.differences(old, old) == []


def test_every_key_of_a_section_is_documented():
    for section in dataclasses.fields(Config):
        inner = section.default_factory
        for key in dataclasses.fields(inner):
            assert f"\n        {key.name}: " in inner.__doc__, f"{section.name}.{key.name}"
