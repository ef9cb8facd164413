"""Mutants of the guards: each breaks one of them, and some test must fail.

    python -m tests.mutants
    python -m tests.mutants --only lease ticket

A mutant is a piece of source text that is replaced by another, in a copy of the repository. Then
the few tests named for it are run there. Prints which were killed, and ends with status 1 if one
survived. Takes about half an hour. `--check` runs all those tests in a copy without a mutant.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

ROOT = Path(__file__).parents[1]
HUNG = 300.0
"""Seconds after which tests that wait for what a mutant never does count as failed."""

CONFORMANCE = "tests/storage/test_conformance.py"
LEASES = "tests/storage/test_leases.py"
TICKETS = "tests/storage/test_ticket_lock.py"
SEALS = "tests/storage/test_seals.py"
GUARDS = "tests/worker/test_guards.py"
CHECKPOINTS = "tests/worker/test_checkpoints.py"
HEARTBEAT = "tests/worker/test_heartbeat.py"
NETWORK = "tests/worker/test_network.py"
RESUME = "tests/worker/test_resume.py"
FAILURES = "tests/worker/test_failures.py"
CLIMBING = "tests/worker/test_climbing.py"


@dataclass(frozen=True)
class Mutant:
    """A guard that is broken: by its name, in a file, a text that another replaces."""

    name: str
    path: str
    text: str
    other: str
    tests: Sequence[str]


def _mutant(name: str, path: str, text: str, other: str, *tests: str) -> Mutant:
    return Mutant(name, f"lrsearch/{path}", text, other, tests)


MUTANTS = (
    # --- leases
    _mutant(
        "lease lost goes unnoticed",
        "storage/leases.py",
        "if renewed.rowcount == 0:",
        "if renewed.rowcount < 0:",
        f"{CONFORMANCE}::test_a_worker_that_has_lost_its_trial_writes_nothing[sqlite]",
    ),
    _mutant(
        "lease handed back is renewed",
        "storage/leases.py",
        ".where(leases.c.ended.is_(None), leases.c.expires > HANDED_BACK)",
        ".where(leases.c.ended.is_(None))",
        f"{CONFORMANCE}::test_a_trial_handed_back_is_taken_at_once_also_when_a_heartbeat_comes_late",
    ),
    _mutant(
        "lease of a finished trial holds",
        "storage/leases.py",
        'trials.c.trial_id == bindparam("trial"), trials.c.state == TrialState.RUNNING',
        'trials.c.trial_id == bindparam("trial")',
        f"{CONFORMANCE}::test_a_trial_that_somebody_finished_by_hand_is_left_alone[sqlite]",
    ),
    _mutant(
        "lease is anybody's",
        "storage/leases.py",
        "            leases.c.worker_id == self.worker_id,\n",
        "",
        f"{CONFORMANCE}::test_a_new_study_inherits_nothing_from_a_deleted_one[sqlite]",
    ),
    _mutant(
        "lease that has ended is open",
        "storage/leases.py",
        "            leases.c.ended.is_(None),\n        )",
        "        )",
        f"{CONFORMANCE}::test_a_lease_taken_over_cannot_be_ended_or_handed_back_by_who_lost_it[sqlite]",
    ),
    _mutant(
        "lease that has ended is renewed",
        "storage/leases.py",
        ".where(leases.c.ended.is_(None), leases.c.expires > HANDED_BACK)",
        ".where(leases.c.expires > HANDED_BACK)",
        f"{CONFORMANCE}::test_a_worker_that_has_lost_its_trial_writes_nothing[sqlite]",
    ),
    _mutant(
        "lease runs on the wall clock",
        "storage/leases.py",
        'return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))',
        "return time.time()",
        f"{LEASES}::test_a_wall_clock_that_is_set_ends_no_lease_and_keeps_none",
    ),
    _mutant(
        "lease is checked in no transaction",
        "storage/transactions.py",
        "if guard is not None and not reading:",
        "if guard is not None and reading is None:",
        f"{CONFORMANCE}::test_a_worker_that_has_lost_its_trial_writes_nothing[sqlite]",
    ),
    _mutant(
        "lease of a failing trial is not checked",
        "worker/trainer.py",
        "            with self.study.storage.guarded(lease.check):\n                storage = self",
        "            if True:\n                storage = self",
        f"{GUARDS}::test_who_has_lost_a_trial_fails_nothing",
    ),
    _mutant(
        "lease ends while the holder's process lives",
        "storage/queue.py",
        'slow = alive and connection.dialect.name == "sqlite"',
        "slow = False",
        f"{LEASES}::test_a_living_process_keeps_its_trial_a_stopped_one_for_its_lease_a_dead_one_not"
        "[sqlite]",
    ),
    _mutant(
        "lease of a dead process is waited for",
        "storage/queue.py",
        "        if alive is False:",
        "        if alive is ...:",
        f"{LEASES}::test_a_living_process_keeps_its_trial_a_stopped_one_for_its_lease_a_dead_one_not"
        "[sqlite]",
    ),
    _mutant(
        "lease of a silent process never ends",
        "storage/queue.py",
        "(LIVING if slow else 0.0)",
        "(1e9 if slow else 0.0)",
        f"{LEASES}::test_a_process_that_lives_but_says_nothing_for_long_has_lost_its_trial[sqlite]",
    ),
    _mutant(
        "lease that a clock prolongs is waited for",
        "storage/queue.py",
        "if not lease.expires <= time + self.seconds:",
        "if not lease.expires <= time + 1e400:",
        f"{LEASES}::test_a_lease_that_a_clock_set_back_prolongs_ends_after_its_own_length[sqlite]",
    ),
    _mutant(
        "lease of one's own is waited for",
        "storage/queue.py",
        "if lease.worker_id == self.worker_id:  # it",
        "if lease.worker_id is None:  # it",
        f"{CONFORMANCE}::test_claims_give_own_trials_first_then_silent_workers_then_waiting_then"
        "_new_ones[sqlite]",
    ),
    _mutant(
        "lease that is too short is allowed",
        "study/checks.py",
        "if spec.workers.lease < MIN_LEASE:",
        "if spec.workers.lease < 0:",
        f"{LEASES}::test_a_lease_too_short_to_beat_in_is_refused_where_a_study_is_made",
    ),
    _mutant(
        "process with a dead one's id is taken for it",
        "storage/processes.py",
        'if begun != started or state in "ZX":',
        'if state in "ZX":',
        f"{LEASES}::test_a_process_is_told_from_another_that_has_its_id",
    ),
    _mutant(
        "process that is stopped counts as alive",
        "storage/processes.py",
        'return None if state in "Tt" else True',
        "return True",
        f"{LEASES}::test_a_living_process_keeps_its_trial_a_stopped_one_for_its_lease_a_dead_one_not"
        "[sqlite]",
    ),
    # --- the budget
    _mutant(
        "budget forgets what runs",
        "storage/queue.py",
        "within = finished + running < study.target",
        "within = finished < study.target",
        f"{CONFORMANCE}::test_the_budget_may_not_fall_below_what_has_finished_or_begun[sqlite]",
    ),
    _mutant(
        "budget counts the finished trial of a dead worker as running",
        "storage/queue.py",
        "elif lease.state.is_finished():  # its",
        "elif lease.state is None:  # its",
        f"{CONFORMANCE}::test_a_finished_trial_whose_worker_died_before_it_ended_its_lease_costs"
        "_nothing[sqlite]",
    ),
    _mutant(
        "budget of epochs leaves nothing for further seeds",
        "search/rungs.py",
        "return climbs + sum(each.expected_epochs for each in further)",
        "return climbs",
        "tests/search/test_rungs.py",
    ),
    _mutant(
        "a check of what collapses stops too",
        "search/checks.py",
        ">= min(then) - changed",
        ">= -math.inf",
        "tests/search/test_checks.py",
    ),
    _mutant(
        "a check that stopped counts as a run in full",
        "worker/trial.py",
        "value = math.nan if stops else",
        "value =",
        f"{CLIMBING}::test_checks_stop_on_seeds_that_hold_and_go_on_to_the_end_on_those_that"
        "_collapse",
    ),
    _mutant(
        "budget of epochs forgets what is in training",
        "storage/budget.py",
        "        running += max(0, epochs - row.trained)",
        "        running += 0",
        "tests/storage/test_stress_of_rungs.py",
    ),
    _mutant(
        "budget of time has no end",
        "storage/budget.py",
        "time >= study.deadline",
        "time >= 1e300",
        f"{CLIMBING}::test_a_budget_of_time_ends_a_search_and_nothing_begins_after_it",
    ),
    _mutant(
        "budget of time leaves nothing for further seeds",
        "worker/plan.py",
        "in_time = epochs_in_time + self",
        "in_time = math.inf + self",
        f"{CLIMBING}::test_what_is_left_of_a_budget_of_time_goes_to_the_best_too",
    ),
    _mutant(
        "budget of epochs that is used up is not named",
        "study/status.py",
        "        if left < leads:",
        "        if left <= 0:",
        "tests/cli/test_view.py",
    ),
    _mutant(
        "budget claims lock nothing",
        "storage/queue.py",
        "            lock_study(connection, self.study_id)\n            study = ",
        "            study = ",
        f"{CONFORMANCE}::test_32_threads_share_a_budget_exactly[postgresql]",
    ),
    _mutant(
        "stopped study goes on",
        "storage/queue.py",
        "            if study.stopping:",
        "            if study.stopping is None:",
        f"{CONFORMANCE}::test_a_stopped_study_gives_out_nothing_and_its_workers_are_told[sqlite]",
    ),
    _mutant(
        "failures never stop a study",
        "storage/queue.py",
        "if study.failures >= self.max_failures:",
        "if study.failures < 0:",
        f"{CONFORMANCE}::test_failed_trials_are_replaced_until_too_many_in_a_row_fail[sqlite]",
    ),
    # --- crashes
    _mutant(
        "crashes before a new epoch count",
        "storage/queue.py",
        ".where(of_trial, leases.c.lease_id > last.scalar_subquery())",
        ".where(of_trial)",
        f"{LEASES}::test_who_dies_with_a_trial_counts_until_it_trains_a_new_epoch[sqlite]",
    ),
    _mutant(
        "crashes count who hands back",
        "storage/queue.py",
        "            .where(leases.c.expires != HANDED_BACK)\n",
        "",
        f"{LEASES}::test_who_dies_with_a_trial_counts_until_it_trains_a_new_epoch[sqlite]",
    ),
    _mutant(
        "crashes never fail a trial",
        "worker/trainer.py",
        "if lease.crashes >= MAX_CRASHES:",
        "if lease.crashes < 0:",
        f"{HEARTBEAT}::test_an_epoch_beyond_its_limit_costs_the_worker_and_after_three_the_trial",
    ),
    _mutant(
        "crashes count an epoch that was trained again as new",
        "storage/metrics.py",
        "new = 0 if connection.execute(_FORGET, key).rowcount else 1",
        "new = 1 if connection.execute(_FORGET, key) else 1",
        f"{RESUME}::test_a_worker_that_crashes_is_restarted_so_often_and_no_more",
    ),
    _mutant(
        "crashes restart a worker for ever",
        "worker/launcher.py",
        "if self.restarts > self.study.spec.workers.max_restarts:",
        "if self.restarts < 0:",
        f"{RESUME}::test_a_worker_that_crashes_is_restarted_so_often_and_no_more",
    ),
    # --- the ticket lock
    _mutant(
        "ticket is drawn and not waited for",
        "storage/sqlite.py",
        "                self._ticket.wait()\n",
        "",
        f"{TICKETS}::test_writers_are_served_in_the_order_in_which_they_came",
    ),
    _mutant(
        "ticket of the dead is waited for",
        "storage/ticket_lock.py",
        " and time.monotonic() - moved < STALLED_AFTER:",
        ":",
        f"{TICKETS}::test_a_writer_that_died_before_its_turn_is_passed_over",
    ),
    _mutant(
        "ticket that comes late sets others back",
        "storage/ticket_lock.py",
        "        if self._number > self._read(_DONE):\n            self._write(_DONE)",
        "        self._write(_DONE)",
        f"{TICKETS}::test_a_writer_that_comes_back_late_sets_nobody_back",
    ),
    _mutant(
        "ticket file's nonsense is believed",
        "storage/ticket_lock.py",
        "(max(drawn, done) if drawn - done <= MAX_AHEAD else done)",
        "max(drawn, done)",
        f"{TICKETS}::test_nonsense_in_the_counter_is_ignored_and_mended",
    ),
    _mutant(
        "ticket file's great numbers are believed",
        "storage/ticket_lock.py",
        "        if done > MAX_NUMBER:",
        "        if done < 0:",
        f"{TICKETS}::test_nonsense_in_the_counter_is_ignored_and_mended",
    ),
    _mutant(
        "ticket sleeps deaf to signals",
        "storage/ticket_lock.py",
        "time.sleep(min(MAX_SLEEP, ahead * SECONDS_PER_LOOK))",
        "time.sleep(ahead * SECONDS_PER_LOOK)",
        f"{TICKETS}::test_who_waits_behind_many_looks_up_often_enough_to_hear_a_signal",
    ),
    _mutant(
        "ticket is kept where a guard forbids",
        "storage/transactions.py",
        "    except BaseException:\n        connection.connection.rollback()\n        raise",
        "    except ZeroDivisionError:\n        raise",
        f"{TICKETS}::test_a_guard_that_forbids_a_transaction_ends_the_turn",
    ),
    _mutant(
        "ticket holder is not named",
        "storage/sqlite.py",
        "lock.acquire(timeout=SILENT_WAIT)",
        "lock.acquire()",
        f"{TICKETS}::test_who_waits_for_a_stopped_process_says_so",
    ),
    # --- what is on the disk
    _mutant(
        "fsync of SQLite is off",
        "storage/sqlite.py",
        "PRAGMA synchronous=NORMAL",
        "PRAGMA synchronous=OFF",
        f"{GUARDS}::test_sqlite_flushes_what_a_power_cut_must_not_corrupt",
    ),
    _mutant(
        "fsync of checkpoints is left out",
        "worker/checkpoints.py",
        "                os.fsync(file.fileno())\n",
        "",
        f"{GUARDS}::test_a_checkpoint_is_on_the_disk_before_it_takes_its_name",
    ),
    _mutant(
        "checkpoint takes its name half written",
        "worker/checkpoints.py",
        'unfinished = path.with_suffix(".part")',
        "unfinished = path",
        f"{GUARDS}::test_a_checkpoint_is_on_the_disk_before_it_takes_its_name",
    ),
    _mutant(
        "SQLite transactions begin without the lock",
        "storage/sqlite.py",
        '"BEGIN" if reading else "BEGIN IMMEDIATE"',
        '"BEGIN"',
        f"{TICKETS}::test_who_writes_has_the_lock_before_the_first_statement",
    ),
    _mutant(
        "database that vanished is made anew",
        "storage/sqlite.py",
        "    if not os.path.exists(str(path)):",
        "    if path is None:",
        f"{FAILURES}::test_a_database_that_vanishes_ends_the_launch_and_comes_back_whole",
    ),
    _mutant(
        "storage that fails is tried for ever",
        "worker/worker.py",
        "            if failures > RETRIES:",
        "            if failures < 0:",
        f"{FAILURES}::test_a_quota_is_waited_for_so_often_and_no_more",
    ),
    # --- fencing
    _mutant(
        "report of a finished trial is stored",
        "storage/storage.py",
        "            self.check_trial_is_updatable(trial_id, state)\n            yield connection",
        "            yield connection",
        f"{TICKETS}::test_a_report_is_stored_as_optuna_stores_it",
    ),
    _mutant(
        "checkpoints of all leases are one file",
        "worker/checkpoints.py",
        "-lease-{lease_id:08}.pt",
        "-lease-{0:08}.pt",
        f"{RESUME}::test_damaged_checkpoints_are_left_out_and_named",
    ),
    # --- checksums
    _mutant(
        "checksum of a checkpoint is not compared",
        "worker/checkpoints.py",
        "if sha256(body).digest() != seal[len(_SEAL) :]:",
        "if not seal:",
        f"{CHECKPOINTS}::test_a_single_flipped_bit_anywhere_is_noticed_or_without_effect",
    ),
    _mutant(
        "checkpoint ahead of the database is used",
        "worker/checkpoints.py",
        '                    raise ValueError("it is ahead of the database")',
        "                    pass",
        f"{CHECKPOINTS}::test_one_that_is_ahead_of_the_database_is_left_out",
    ),
    _mutant(
        "checksum of a trial is not compared",
        "storage/seals.py",
        "if seal.digest != digests[number]:",
        "if seal.digest is None:",
        f"{SEALS}::test_a_change_of_what_has_ended_is_noticed[sqlite]",
    ),
    _mutant(
        "checksum of an epoch is not compared",
        "storage/seals.py",
        "if checksum is not None and checksum != _checksum(trial, text):",
        "if checksum is ...:",
        f"{SEALS}::test_an_epoch_of_a_trial_in_training_has_a_checksum_of_its_own[sqlite]",
    ),
    _mutant(
        "checksum of a trial that waits is not kept",
        "storage/queue.py",
        "            seal_trial(connection, lease.trial_id)\n",
        "",
        f"{SEALS}::test_a_trial_that_waits_is_sealed_until_it_goes_on[sqlite]",
    ),
    _mutant(
        "checksum of a trial that goes on is kept",
        "storage/queue.py",
        "        break_seal(connection, self.study_id, step.number)\n",
        "",
        f"{SEALS}::test_a_trial_that_waits_is_sealed_until_it_goes_on[sqlite]",
    ),
    _mutant(
        "checksum of a study is kept where its budget is set",
        "storage/studies.py",
        "values(target=target))\n        seal_study(connection, study_id)",
        "values(target=target))",
        f"{SEALS}::test_what_may_change_may[sqlite]",
    ),
    _mutant(
        "indices are not looked through",
        "storage/seals.py",
        '        if found != "ok":',
        "        if found is None:",
        f"{SEALS}::test_an_index_that_no_longer_leads_to_a_row_is_noticed",
    ),
    # --- sweeping
    _mutant(
        "sweeping leaves what the dead have left",
        "worker/trainer.py",
        "study_id, left):\n                    self.checkpoints.remove(number)",
        "study_id, left):\n                    pass",
        f"{CHECKPOINTS}::test_what_a_dead_worker_left_of_finished_trials_is_swept",
    ),
    _mutant(
        "sweeping after the end is left out",
        "worker/trainer.py",
        "        self._remove_checkpoints(lease.number)\n        self.on_end(",
        "        self.on_end(",
        f"{RESUME}::test_damaged_checkpoints_are_left_out_and_named",
    ),
    # --- timeouts, and leaving
    _mutant(
        "timeout of an epoch is left out",
        "worker/heartbeat.py",
        "if self.limit is not None and seconds > self.limit:",
        "if self.limit is not None and seconds < 0:",
        f"{HEARTBEAT}::test_an_epoch_beyond_its_limit_costs_the_worker_and_after_three_the_trial",
    ),
    _mutant(
        "timeout of an answer is left out",
        "storage/postgresql.py",
        "if waited > (LEAVING if _leaving else ANSWER):",
        "if waited < 0:",
        f"{NETWORK}::test_a_silent_network_ends_in_an_error_and_at_once_where_the_process_is_to_leave",
    ),
    _mutant(
        "timeout of connecting is left out",
        "storage/postgresql.py",
        '"connect_timeout": int(timeout), ',
        "",
        f"{NETWORK}::test_the_wait_until_a_connection_is_given_up_holds_for_connecting_too",
    ),
    _mutant(
        "timeout of an idle transaction is left out",
        "storage/postgresql.py",
        "SET idle_in_transaction_session_timeout = '{MAX_IDLE * 1000:.0f}ms'",
        "SET idle_in_transaction_session_timeout = 0",
        f"{CONFORMANCE}::test_a_machine_that_dies_in_a_transaction_holds_up_nobody",
    ),
    _mutant(
        "heartbeat renews nothing",
        "worker/heartbeat.py",
        "return self.queue.seen(self._holding)",
        "return self.queue.seen(())",
        f"{RESUME}::test_a_worker_keeps_its_trial_through_a_long_epoch_until_sigterm_hands_it_back",
    ),
    _mutant(
        "worker outlives its launcher",
        "worker/heartbeat.py",
        "if self.parent is not None and os.getppid() != self.parent:",
        "if self.parent is not None and os.getppid() < 0:",
        f"{RESUME}::test_a_launcher_that_dies_leaves_no_worker_behind",
    ),
)


def copy_repository(to: Path) -> None:
    """Copy what tests need."""
    unwanted = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in ("lrsearch", "tests", "studies", "dashboards"):
        shutil.copytree(ROOT / name, to / name, ignore=unwanted)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, to / name)


def run_tests(root: Path, tests: Sequence[str]) -> tuple[str, str]:
    """Run tests in a copy; return "passed", "failed", "hung" or "broken", and the last lines."""
    command = ["-m", "pytest", "-n", "0", "-q", "-x", "--no-header", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(root)}
    # a file, since a pipe stays open while a worker that is left behind has it
    with TemporaryFile("w+", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, *command, *tests],
            cwd=root,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(HUNG)
        except subprocess.TimeoutExpired:
            return "hung", ""
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and the workers that it may leave behind
            process.wait()
        output.seek(0)
        outcome = {0: "passed", 1: "failed"}.get(code, "broken")
        return outcome, "\n".join(output.read().splitlines()[-12:])


def main() -> int:
    """Run, print, and return the status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], help="words that begin a mutant's name")
    parser.add_argument("--check", action="store_true", help="run the tests without any mutant")
    options = parser.parse_args()
    chosen = [m for m in MUTANTS if not options.only or m.name.startswith(tuple(options.only))]
    bad = []
    with TemporaryDirectory(prefix="lrsearch-mutants-") as folder:
        root = Path(folder)
        copy_repository(root)
        if options.check:
            tests = sorted({test for mutant in chosen for test in mutant.tests})
            outcome, said = run_tests(root, tests)
            print(f"{len(tests)} tests without a mutant: {outcome}\n{said}")
            return outcome != "passed"
        for mutant in chosen:
            path = root / mutant.path
            source = path.read_text(encoding="utf-8")
            assert source.count(mutant.text) == 1, mutant.name
            path.write_text(source.replace(mutant.text, mutant.other), encoding="utf-8")
            begun = time.monotonic()
            outcome, said = run_tests(root, mutant.tests)
            path.write_text(source, encoding="utf-8")
            verdict = {"failed": "killed", "hung": "killed (hung)"}.get(outcome, outcome)
            if outcome in ("passed", "broken"):
                verdict = "SURVIVED" if outcome == "passed" else "BROKEN"
                bad.append(f"{mutant.name}: {verdict}\n{said}")
            print(f"{verdict:13} {time.monotonic() - begun:4.0f} s  {mutant.name}", flush=True)
    print(f"{len(chosen) - len(bad)} of {len(chosen)} mutants killed")
    for each in bad:
        print(each)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
