"""The command line: what it prints, and one clear message with nothing written for bad input."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import torch
from typer.main import get_command

from lrsearch import cli, families, load_schedule, open_storage, open_study


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder; return its exit status, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lrsearch", *arguments])
        try:
            cli.main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capsys.readouterr()
        return status, out, err

    return run


def study_file(folder: Path, small_data: Path, **changes: str) -> Path:
    """Write a small study file; `section__key` = TOML text changes or adds a line."""
    lines = {
        "study": {"name": '"small"', "trials": "4"},
        "task": {
            "run": '"lrsearch.tasks.fashion_mnist:task"',
            "epochs": "2",
            "batch_size": "50",
            "optimizer": '"adam"',
            "data_dir": f'"{small_data}"',
        },
        "space": {
            "families": '["cosine", "one_cycle"]',
            "base_lr": "{ low = 0.003, high = 0.01, log = true }",
        },
    }
    for name, value in changes.items():
        section, _, key = name.partition("__")
        lines.setdefault(section, {})[key] = value
    text = "".join(
        f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
        for section, keys in lines.items()
    )
    path = folder / "study.toml"
    path.write_text(text)
    return path


@pytest.mark.slow
def test_from_a_study_file_to_the_best_schedule(tmp_path, small_data):
    """A newcomer's way, in real processes: launch, look, launch for more, export, load."""
    path = study_file(tmp_path, small_data)

    def lrsearch(*arguments: str) -> str:
        command = [sys.executable, "-m", "lrsearch", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1800)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    out = lrsearch("launch", str(path), "--workers", "2")
    assert "4/4 finished" in out
    assert "The best schedule" in out
    assert "lrsearch export" in out
    out = lrsearch("launch", str(path), "--trials", "6", "--workers", "1")
    assert "6/6 finished" in out
    status = json.loads(lrsearch("status", "--json"))
    assert (status["study"], status["target"], status["running"]) == ("small", 6, 0)
    assert status["complete"] + status["pruned"] == 6
    assert list(status) == [
        "study", "storage", "target", "complete", "pruned", "diverged", "failed_to_train", "failed",
        "running", "interrupted", "waiting", "duplicates", "epochs", "epochs_target",
        "full_epochs", "seconds_target", "seconds_left", "unstable", "leading", "latest", "workers",
        "best",
    ]  # fmt: skip
    assert list(status["best"]) == [
        "trial", "metric", "value", "seeds", "known_from", "expected", "error",
        "confirmed", "leads_now",
        "params", "schedule",
    ]  # fmt: skip
    lrsearch("export", "-o", "best.json")
    assert load_schedule(tmp_path / "best.json").to_dict() == status["best"]["schedule"]


def test_schedules_lists_every_family_with_parameters_and_advice(run):
    status, out, _ = run("schedules")
    assert status == 0
    for family in families.values():
        assert re.search(rf"^{family.name}: ", out, re.MULTILINE)
        assert family.use_when in out
        assert family.drawback in out
        section = f"\n{out}".split(f"\n{family.name}: ", 1)[1].split("\n\n", 1)[0]
        for name, parameter in family.parameters().items():
            assert re.search(rf"{name} +{re.escape(str(parameter.domain))}", section)


def test_schedules_draws_every_family_into_one_page(run, tmp_path):
    assert run("schedules", "--plot", "all.html")[0] == 0
    page = (tmp_path / "all.html").read_text()
    assert all(f'"{name}"' in page for name in families)
    assert "https://cdn" not in page.split("<script")[1]  # it opens without a network


def test_status_of_a_finished_study(run, finished_study):
    status, out, _ = run("status", "--storage", finished_study)
    assert status == 0
    assert "8/8 finished" in out
    assert "1 diverged" in out
    assert "best val_accuracy" in out


def test_the_storage_may_come_from_the_environment(run, finished_study, monkeypatch):
    monkeypatch.setenv("LRSEARCH_STORAGE", finished_study)
    assert json.loads(run("status", "--json")[1])["study"] == "small"
    assert json.loads(run("export")[1])["study"] == "small"
    assert json.loads(run("export", "--trial", "0")[1])["trial"] == 0


COMMANDS = get_command(cli.app).commands


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_option_and_keeps_the_lines_of_a_script(run, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _ = run(name, "--help")
    assert status == 0
    for parameter in COMMANDS[name].params:
        assert all(option in out for option in parameter.opts if option.startswith("-"))
    assert "\b" not in COMMANDS[name].help  # click's mark for lines to keep, which joins them here
    shown = [line.strip() for line in out.splitlines()]
    for script in re.findall(r"```bash\n(.*?)```", COMMANDS[name].help, re.DOTALL):
        assert all(line.strip() in shown for line in script.strip().splitlines())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"study__trails": "3"}, "unknown key 'study.trails'; did you mean 'trials'?"),
        ({"study__trials": '"many"'}, "study.trials = 'many'"),
        ({"study__name": '"a'}, "is not valid TOML"),
        ({"space__base_lr": "{ low = 1.0, high = 0.1 }"}, "low=1.0, high=0.1"),
        ({"space__families": '["cosinus"]'}, "did you mean 'cosine'?"),
        ({"space__warmup_steps": "1000"}, "under the run's 40 updates, but may be 1000"),
        ({"task__optimizer": '"adamm"'}, "did you mean 'adam'?"),
        ({"task__optimizer": '{ name = "adam", momentm = 1 }'}, "no option 'momentm'"),
        ({"study__metric": '"val_acuracy"'}, "did you mean 'val_accuracy'?"),
        ({"task__run": '"no_such_module:task"'}, "cannot import 'no_such_module'"),
        ({"task__run": '"lrsearch.tasks.fashion_mnist:tusk"'}, "has no 'tusk'"),
        ({"task__run": '"math:pi"'}, "is no task"),
        ({"task__epoch": "3"}, "did you mean 'epochs'?"),
        ({"task__epochs": "0"}, "task.epochs must be a whole number from 1, but got 0"),
        ({"task__model": '"lenot"'}, "did you mean 'lenet'?"),
        ({"task__batch_size": "5000"}, "at most the 1000 training examples, but is 5000"),
        ({"task__data_dir": '"/dev/null/data"'}, "FashionMNIST in /dev/null/data is missing"),
        ({"task__parallel": '"fsdp"'}, "task.parallel can only be \"ddp\", but got 'fsdp'"),
        ({"sampler__kind": '"tpee"'}, "did you mean 'tpe'?"),
        ({"pruning__kind": '"medain"'}, "did you mean 'median'?"),
    ],
)
def test_a_bad_study_file_ends_in_one_message_and_writes_nothing(
    run, tmp_path, small_data, changes, said
):
    path = study_file(tmp_path, small_data, **changes)
    status, out, err = run("launch", str(path))
    assert status == 1
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert out == ""
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["launch", "nowhere.toml"], "cannot read the study file nowhere.toml"),
        (["status"], "there is no file lrsearch.db; launch a study first"),
        (["status", "--storage", "study.db"], "did you mean sqlite:///study.db"),
        (["status", "--storage", "sqlite:////nowhere/x.db"], "there is no folder /nowhere"),
        (["status", "--storage", "mysql://me:secret@host/db"], "mysql is not supported"),
        (["status", "--storage", "postgresql+psycopg://me:secret@127.0.0.1:9/db"], "refused"),
        (["export", "--format", "yaml"], "--format is 'yaml'"),
        (["resume"], "launch a study first"),
        (["stop"], "launch a study first"),
        (["work"], "launch a study first"),
        (["dashboard"], "launch a study first"),
        (["confirm"], "launch a study first"),
        (["compare", "nowhere.toml"], "cannot read the study file nowhere.toml"),
        (["train", "--schedule", "nowhere.json"], "cannot read the schedule nowhere.json"),
        (["train", "--schedule", "a.json", "-o", "no/m.safetensors"], "there is no folder no"),
        (["work", "--pack", "many"], '--pack must be "auto" or a whole number from 1'),
        (["schedules", "--plot", "/nowhere/x.html"], "cannot write /nowhere/x.html"),
        (["schedules", "--plot", "x.pdf"], "x.pdf must end in .html; it ends in '.pdf'"),
        (["report", "-o", "r.pdf"], "r.pdf must end in .html; it ends in '.pdf'"),
        (["report", "-o", "r.png", "--format", "md"], "r.png must end in .md"),
        (["export", "-o", "best.txt"], "best.txt must end in .json"),
        (["export", "-o", "best.json", "--format", "keras"], "best.json must end in .py"),
        (["confirm", "-o", "c.pdf"], "c.pdf must end in .html or .png"),
        (["compare", "a.toml", "-o", "c.pdf"], "c.pdf must end in .html or .png"),
        (["find-lr", "a.toml", "-o", "c.svg"], "c.svg must end in .html or .png"),
        (["diagnose", "a.toml", "-o", "c.png"], "c.png must end in .html"),
        (["train", "--schedule", "a.json", "-o", "m.bin"], "m.bin must end in .safetensors or .pt"),
    ],
    ids=" ".join,
)
def test_bad_arguments_end_in_one_message_and_write_nothing(run, tmp_path, arguments, said):
    status, out, err = run(*arguments)
    assert status == 1
    assert said in err
    assert "secret" not in err + out
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", [["--workers", "0"], ["--trials", "0"], ["--device", "tpu"]])
def test_bad_options_are_refused(run, tmp_path, small_data, option):
    status, _, err = run("launch", str(study_file(tmp_path, small_data)), *option)
    assert status == 2
    assert f"Invalid value for '{option[0]}'" in err
    assert not (tmp_path / "lrsearch.db").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], 'cpu,cpu, and a Supervised trains on one; set task.parallel = "ddp"'),
        (["--pack", "8"], "--pack 8 trains trials together on one device, and --gpus-per-trial 2"),
    ],
)
def test_several_devices_are_refused_where_a_trial_trains_on_one(
    run, tmp_path, small_data, options, said
):
    path = study_file(tmp_path, small_data)
    two = ("--device", "cpu", "--gpus-per-trial", "2", *options)
    status, _, err = run("launch", str(path), *two)
    assert (status, err.count("\n")) == (1, 1)
    assert said in err
    assert not (tmp_path / "lrsearch.db").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_refused(run, tmp_path, small_data):
    status, _, err = run("launch", str(study_file(tmp_path, small_data)), "--device", "cuda")
    assert status == 1
    assert "torch sees no GPU; use --device cpu" in err


def test_a_file_that_is_no_database_is_left_as_it_is(run, tmp_path, small_data):
    study = str(study_file(tmp_path, small_data))
    (tmp_path / "lrsearch.db").write_text("not a database at all, only text" * 50)
    for command in (["status"], ["launch", study]):
        status, _, err = run(*command)
        assert status == 1
        assert "file is not a database" in err
        assert "Traceback" not in err
    assert (tmp_path / "lrsearch.db").read_text().startswith("not a database")


def test_exports_that_cannot_be(run, finished_study, tmp_path):
    for arguments, said in (
        (["--trial", "99"], "no trial 99"),
        (["--trial", "1"], 'is not complete, but "diverged"'),
        (["-o", "/nowhere/best.json"], "cannot write /nowhere/best.json"),
        (["--study", "smal"], "no study 'smal'; its studies: small"),
    ):
        status, out, err = run("export", "--storage", finished_study, *arguments)
        assert (status, out) == (1, "")
        assert said in err


def test_a_study_without_a_finished_trial_exports_nothing(run, tmp_path, small_data):
    from lrsearch import StudySpec, create_study
    from lrsearch.tasks import load_task

    spec = StudySpec.from_toml(study_file(tmp_path, small_data))
    task = load_task(spec.task.run, spec.task_options())
    create_study(open_storage(f"sqlite:///{tmp_path}/lrsearch.db"), spec, task)
    status, out, err = run("export", "-o", "best.json")
    assert (status, out) == (1, "")
    assert "has no trained trial yet" in err
    assert not (tmp_path / "best.json").exists()
    assert json.loads(run("status", "--json")[1])["best"] is None
    assert run("status")[0] == 0


def test_the_dashboard_shows_the_study_on_loopback(finished_study, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "lrsearch", "dashboard", "--port", str(port)]
    environment = {**os.environ, "LRSEARCH_STORAGE": finished_study, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().decode()
            study = open_study(open_storage(finished_study))
            assert f"http://127.0.0.1:{port}/dashboard/studies/{study.study_id}" in line
            for _ in range(9000):
                try:
                    url = f"http://127.0.0.1:{port}/api/studies"
                    with urllib.request.urlopen(url, timeout=900) as answer:
                        assert json.load(answer)["study_summaries"][0]["study_name"] == "small"
                    break
                except OSError:
                    assert process.poll() is None
                    time.sleep(0.1)
            else:
                pytest.fail("the dashboard did not answer")
            arguments = Path(f"/proc/{process.pid}/cmdline").read_text()
            assert finished_study not in arguments
        finally:
            process.terminate()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands(run, monkeypatch, shell):
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: (shell, f"/bin/{shell}"))
    status, out, _ = run("--show-completion")
    assert status == 0
    assert "_LRSEARCH_COMPLETE" in out


def test_a_taken_port_is_refused(run, finished_study):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, _, err = run("dashboard", "--storage", finished_study, "--port", port)
    assert status == 1
    assert f"port {port} on 127.0.0.1" in err


@pytest.mark.slow
def test_from_a_search_to_a_trained_network(run, tmp_path, small_data):
    path = study_file(tmp_path, small_data, task__epochs="3", study__trials="6")
    assert run("launch", str(path))[0] == 0
    status, out, err = run("confirm", "--top", "2", "--seeds", "2", "--workers", "2")
    assert status == 0, err
    assert "Confirmed on 2 seeds, the same for all" in out
    assert "the best" in out
    assert re.search("the search (over|under)estimated", out)
    status, out, _ = run("confirm", "--top", "2", "--seeds", "2")
    assert status == 0  # it is done, and says so again
    assert "the best" in out

    status, _, err = run("export", "-o", "best.json")
    assert status == 0
    assert "the confirmed winner: test_accuracy" in err
    winner = json.loads(Path("best.json").read_text())
    assert (winner["confirmed"]["seeds"], winner["confirmed"]["error"]) == (2, None)
    assert "too few for an interval" in err
    for format in ("lightning", "transformers", "keras", "optax", "timm"):
        status, out, _ = run("export", "--format", format, "--steps", "77")
        assert status == 0
        assert "77" in out

    status, out, err = run("train", "--schedule", "best.json")
    assert status == 0, err
    assert "epoch 3/3" in out
    assert "test_accuracy" in out
    assert Path("model.safetensors").stat().st_size > 100_000
    assert Path("model.csv").read_text().startswith("epoch,step,lr,train_loss")


@pytest.mark.slow
def test_families_are_compared(run, tmp_path, small_data):
    path = study_file(tmp_path, small_data, task__epochs="3", study__trials="3")
    status, out, err = run("compare", str(path), "--seeds", "2", "-o", "families.html")
    assert status == 0, err
    _, table = out.split("the best of each on 2 fresh seeds")
    assert re.search(r"cosine +[01]\.\d+ .* epochs .* decades +\d+%", table)
    assert "±" not in table.replace("± 95 %", "")  # two seeds carry no interval
    assert Path("families.html").stat().st_size > 10_000
    status, _, err = run("compare", str(path), "--families", "cosine")
    assert status == 1
    assert "at least two families" in err
