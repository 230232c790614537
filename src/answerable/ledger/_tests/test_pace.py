"""How many share a commit, by what commits and the loop's work have taken."""

import pytest

from answerable.ledger._drivers._pace import Moment, Pace

MS = 1e-3


class Stopwatch:
    """Time that passes when it is told to, and a processor that is used meanwhile."""

    def __init__(self) -> None:
        self.moment = Moment(0.0, 0.0)

    def __call__(self) -> Moment:
        return self.moment

    def passes(self, *, works_s: float, waits_s: float = 0.0) -> None:
        self.moment = Moment(self.moment.now_s + works_s + waits_s, self.moment.worked_s + works_s)


def pace(*, cores: int, loop_s: float, commit_s: float, wait_s: float) -> Pace:
    """Of a writer that has done and committed the work of 100 for a while."""
    watch = Stopwatch()
    found = Pace(now=watch, cores=lambda: cores)
    for _ in range(100):
        watch.passes(works_s=loop_s)
        found.worked(100)
        began = watch()
        watch.passes(works_s=commit_s, waits_s=wait_s)
        found.committed(began, 100)
    return found


def test_on_two_cores_commits_overlap_with_the_work_of_the_loop() -> None:
    of_two = pace(cores=2, loop_s=7 * MS, commit_s=0.8 * MS, wait_s=0.3 * MS)

    assert not of_two.is_one_commit_best(100)


@pytest.mark.parametrize("cores", [1, 2])
def test_a_commit_that_takes_longer_than_the_work_of_all_serves_all(cores: int) -> None:
    of_slow_disk = pace(cores=cores, loop_s=7 * MS, commit_s=0.8 * MS, wait_s=9 * MS)

    assert of_slow_disk.is_one_commit_best(100)
    assert not of_slow_disk.is_for_the_loop(1)


def test_on_one_core_one_commit_serves_all_unless_the_disk_takes_longer_than_a_second_one_works() -> None:
    of_quick_disk = pace(cores=1, loop_s=7 * MS, commit_s=0.8 * MS, wait_s=0.3 * MS)
    of_slower_disk = pace(cores=1, loop_s=7 * MS, commit_s=0.8 * MS, wait_s=3 * MS)

    assert of_quick_disk.is_one_commit_best(100)
    assert not of_slower_disk.is_one_commit_best(100)


def test_one_commit_that_the_disk_held_up_does_not_part_those_that_follow() -> None:
    watch = Stopwatch()
    found = Pace(now=watch, cores=lambda: 1)
    for wait_s in (0.3 * MS,) * 50 + (6 * MS,):
        watch.passes(works_s=7 * MS)
        found.worked(100)
        began = watch()
        watch.passes(works_s=0.8 * MS, waits_s=wait_s)
        found.committed(began, 100)

    assert found.is_one_commit_best(100)


@pytest.mark.parametrize("cores", [1, 2])
def test_the_loop_commits_what_one_call_said(cores: int) -> None:
    of_quick_disk = pace(cores=cores, loop_s=7 * MS, commit_s=0.8 * MS, wait_s=0.3 * MS)

    assert of_quick_disk.is_for_the_loop(2)


def test_of_many_the_loop_commits_on_one_core_where_it_could_do_little_while_the_disk_works() -> None:
    of_one = pace(cores=1, loop_s=7 * MS, commit_s=0.4 * MS, wait_s=0.2 * MS)
    of_slower_disk = pace(cores=1, loop_s=7 * MS, commit_s=0.4 * MS, wait_s=1.1 * MS)
    of_two = pace(cores=2, loop_s=7 * MS, commit_s=0.4 * MS, wait_s=0.2 * MS)

    assert of_one.is_for_the_loop(100)
    assert not of_slower_disk.is_for_the_loop(100)
    assert not of_two.is_for_the_loop(100)


def test_of_a_few_the_loop_commits_on_one_core_where_the_disk_takes_less_than_handing_over() -> None:
    of_quick_disk = pace(cores=1, loop_s=7 * MS, commit_s=0.4 * MS, wait_s=0.15 * MS)
    of_slower_disk = pace(cores=1, loop_s=7 * MS, commit_s=0.4 * MS, wait_s=0.3 * MS)

    assert of_quick_disk.is_for_the_loop(5)
    assert not of_slower_disk.is_for_the_loop(5)
