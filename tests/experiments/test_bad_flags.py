"""Bad values of the programs' flags: one sentence with the flag, status 1, and nothing is made."""

import pytest

from experiments.capacity import program as capacity
from experiments.factors import program as factors
from experiments.generator import program as generator
from experiments.infogan import program as infogan
from experiments.infogan_seeds import program as infogan_seeds
from experiments.infogan_study import program as infogan_study
from experiments.infogan_study.jobs import draw_data, train_cell
from experiments.information import program as information
from experiments.mnist import program as mnist
from experiments.open_question import program as open_question
from experiments.open_question.jobs import measure_codes, train_arm
from experiments.poster import program as poster
from experiments.sweep import program as sweep

COUNT = "must be at least 1, found "
FLAGS = [
    (mnist, "--steps 0", f"--steps {COUNT}0"),
    (mnist, "--batch-size 0", f"--batch-size {COUNT}0"),
    (mnist, "--seed -1", "--seed must be at least 0, found -1"),
    (mnist, "--seed 4294967296", "--seed must be at most 4294967295, found 4294967296"),
    (mnist, "--init-seed -1", "--init-seed must be at least 0, found -1"),
    (mnist, "--learning-rate 0", "--learning-rate must be a finite number, above 0, found 0.0"),
    (mnist, "--learning-rate nan", "--learning-rate must be a finite number, above 0, found nan"),
    (mnist, "--mi-weight -1", "--mi-weight must be a finite number, at least 0, found -1.0"),
    (mnist, "--kl-weight inf", "--kl-weight must be a finite number, at least 0, found inf"),
    (mnist, "--mi-warmup -5", "--mi-warmup must be at least 0, found -5"),
    (mnist, "--code-scale 0", "--code-scale must be a finite number, above 0, found 0.0"),
    (mnist, "--code-dim 0", f"--code-dim {COUNT}0"),
    (mnist, "--noise-dim -1", "--noise-dim must be at least 0, found -1"),
    (mnist, "--hidden-units 0", f"--hidden-units {COUNT}0"),
    (mnist, "--hidden-layers 17", "--hidden-layers must be at most 16, found 17"),
    (mnist, "--init-gain nan", "--init-gain must be a finite number, above 0, found nan"),
    (mnist, "--devices 0", f"--devices {COUNT}0"),
    (mnist, "--validate-every 0", f"--validate-every {COUNT}0"),
    (mnist, "--checkpoint-every -1", f"--checkpoint-every {COUNT}-1"),
    (mnist, "--evidence-images 0", f"--evidence-images {COUNT}0"),
    (mnist, "--evidence-samples 1000000000", "--evidence-samples must be at most 100000000, found"),
    (mnist, f"--data-dir {__file__}", "--data-dir must be a folder, found the file"),
    (sweep, "--workers 0", f"--workers {COUNT}0"),
    (sweep, "--threads 0", f"--threads {COUNT}0"),
    (sweep, "--seeds 0 -1", "--seeds must be at least 0, found -1"),
    (sweep, "--mi-weights 1 -1", "--mi-weights must be a finite number, at least 0, found -1.0"),
    (poster, "--seeds 0", f"--seeds {COUNT}0"),
    (poster, "--figure-4-seeds 0", f"--figure-4-seeds {COUNT}0"),
    (poster, "--threads -1", f"--threads {COUNT}-1"),
    (capacity, "--long-seeds 0", f"--long-seeds {COUNT}0"),
    (capacity, "--blocks all", "--blocks: expected some of sizes, networks, without, long or none"),
    (capacity, "--smoke --table t.csv", "--table has runs of the full size: leave it out"),
    (open_question, "--seeds 0", f"--seeds {COUNT}0"),
    (open_question, "--workers -1", f"--workers {COUNT}-1"),
    (information, "run --images 0", "--images must be at least 1, found 0"),
    (information, "run --num-samples 0", "--num-samples must be at least 1, found 0"),
    (information, "run --num-data 100 -1", f"--num-data {COUNT}-1"),
    (information, "run --refit-steps -1", "--refit-steps must be at least 0, found -1"),
    (information, "run --seed -1", "--seed must be at least 0, found -1"),
    (generator, "run --draws 10", "--draws must be at least 100, found 10"),
    (generator, "run --seed -1", "--seed must be at least 0, found -1"),
    (generator, "run --channels", "--channels: expected mean, sample or both, found none"),
    (infogan, "--steps 0", f"--steps {COUNT}0"),
    (infogan, "--draws 10", "--draws must be at least 100, found 10"),
    (infogan_seeds, "--seeds 0", f"--seeds {COUNT}0"),
    (infogan_seeds, "--workers 0", f"--workers {COUNT}0"),
    (factors, f"--cache-dir {__file__}", "--cache-dir must be a folder, found the file"),
    (train_arm, "--epochs 0", f"--epochs {COUNT}0"),
    (train_arm, "--hidden 256 0", f"--hidden {COUNT}0"),
    (train_arm, "--learning-rate -1", "--learning-rate must be a finite number, above 0"),
    (measure_codes, "run --traversals 0", f"--traversals {COUNT}0"),
    (infogan_study, "--seeds 25", "--seeds must be at most 24, found 25"),
    (infogan_study, "--workers 0", f"--workers {COUNT}0"),
    (infogan_study, "--smoke --table t.csv", "--table has runs of the full size: leave it out"),
    (infogan_study, "--blocks all", "--blocks: expected some of pre-check, mended, "),
    (train_cell, "--draws 99", "--draws must be at least 100, found 99"),
    (train_cell, "--steps 0", f"--steps {COUNT}0"),
    (draw_data, "--pool 0", f"--pool {COUNT}0"),
]


@pytest.mark.parametrize(("program", "flags", "words"), FLAGS, ids=[words for *_, words in FLAGS])
def test_a_flag_out_of_its_range(program, flags, words, tmp_path, capsys):
    out = tmp_path / "out"
    assert program.main([*flags.split(), "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {words}")
    assert said.err.count("\n") == 1
    assert not said.out
    assert not out.exists()


@pytest.mark.parametrize(
    "program",
    [mnist, sweep, poster, open_question, infogan_study, factors, train_arm, train_cell, draw_data],
)
def test_a_folder_that_is_a_file(program, tmp_path, capsys):
    (tmp_path / "out").write_text("precious")
    assert program.main(["--out", str(tmp_path / "out")]) == 1
    assert "--out must be a folder, found the file" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "precious"


def test_a_batch_of_more_images_than_there_are(tmp_path, capsys):
    flags = ["--smoke", "--batch-size", "5000", "--out", str(tmp_path / "run")]
    assert mnist.main(flags) == 1
    assert "--batch-size 5000 is more than the 4000 images" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flags", [["--out", "other"], ["--overwrite"]])
def test_a_run_that_goes_on_is_no_new_one(flags, tmp_path, capsys):
    assert mnist.main(["--resume", str(tmp_path), *flags]) == 1
    assert f"and {flags[0]} is for a new run" in capsys.readouterr().err


@pytest.mark.parametrize("flags", ["--steps 2.5", "--steps many", "--prior cauchy", "--speed 3"])
def test_a_flag_of_another_type(flags, capsys):
    with pytest.raises(SystemExit) as end:
        mnist.main(flags.split())
    assert end.value.code == 2
    assert flags.split()[0] in capsys.readouterr().err
