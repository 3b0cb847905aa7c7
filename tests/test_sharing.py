"""A good neighbour: fewer threads while others need the cores, and all of them again when they do not."""

import os
import subprocess
import sys

import pytest
import torch

from resnets import sharing
from resnets.inference import session
from resnets.sharing import EVERY, PATIENCE, Sharing


class World:
    """A clock, and others who use so many cores while it runs."""

    def __init__(self, monkeypatch):
        monkeypatch.delenv(sharing.OFF, raising=False)
        self.time = self.used = 0.0
        self.load = 0.0

    def passes(self, seconds=EVERY):
        self.time += seconds
        self.used += self.load * seconds

    def sharing(self, most, cores=None):
        return Sharing(most, lambda: self.used, lambda: self.time, cores or most)


@pytest.mark.parametrize(
    ("most", "load", "threads"),
    [(2, 0.0, 2), (2, 0.2, 2), (2, 0.67, 1), (2, 1.0, 1), (2, 5.0, 1), (16, 0.9, 15), (16, 3.2, 13), (1, 1.0, 1)],
)
def test_so_many_are_left(monkeypatch, most, load, threads):
    world = World(monkeypatch)
    found = world.sharing(most)
    world.load = load
    world.passes()
    assert found.look() == threads


def test_cores_that_nobody_uses_are_no_reason_to_leave_any(monkeypatch):
    world = World(monkeypatch)
    found = world.sharing(4, cores=16)
    world.load = 4.0
    world.passes()
    assert found.look() == 4
    world.load = 14.0
    world.passes()
    assert found.look() == 2


def test_what_others_did_while_nobody_worked_here_does_not_count(monkeypatch):
    world = World(monkeypatch)
    found = world.sharing(2)
    world.load = 2.0
    world.passes(600)
    world.load = 0.0
    assert found.look() == 2
    world.passes()
    assert found.look() == 2


def test_cores_are_left_at_once_and_taken_back_with_patience(monkeypatch):
    world = World(monkeypatch)
    found = world.sharing(2)
    world.load = 1.0
    world.passes(0.5)
    assert found.look() == 2  # it is not yet time to look
    world.passes(0.5)
    assert found.look() == 1
    world.load = 0.0
    seen = []
    for _ in range(PATIENCE):
        world.passes()
        seen.append(found.look())
    assert seen == [1] * (PATIENCE - 1) + [2]


def test_a_moment_of_quiet_changes_nothing(monkeypatch):
    world = World(monkeypatch)
    found = world.sharing(2)
    for load in [1.0, *([0.0] * (PATIENCE - 1)), 1.0, *([0.0] * (PATIENCE - 1))]:
        world.load = load
        world.passes()
        assert found.look() == 1


def test_who_wants_fixed_threads_has_them(monkeypatch):
    world = World(monkeypatch)
    monkeypatch.setenv(sharing.OFF, "fixed")
    found = world.sharing(2)
    world.load = 2.0
    world.passes()
    assert found.look() == 2


def test_where_nobody_says_what_others_do_nothing_happens(monkeypatch):
    def unknown():
        raise OSError

    monkeypatch.delenv(sharing.OFF, raising=False)
    clock = iter(range(99))
    found = Sharing(2, unknown, lambda: float(next(clock)))
    assert [found.look() for _ in range(3)] == [2, 2, 2]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="what others use is known on Linux alone")
def test_what_others_use_is_seen_and_what_this_process_uses_is_not():
    """A process that does nothing but count, on the cores of this one, for as long as it takes to be seen."""
    before = sharing._others()
    busy = "import time\nend = time.process_time() + 1\nwhile time.process_time() < end: pass"
    subprocess.run([sys.executable, "-c", busy], check=True)
    assert sharing._others() - before > 0.8


def test_torch_has_its_threads_back_afterwards(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with session.torch_shared() as look:
            monkeypatch.setattr(Sharing, "look", lambda _: 1)
            look()
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_session_leaves_cores_to_others_and_the_process_as_it_was(classifier, monkeypatch):
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        engine = classifier.session.engine
        own = session.Session(engine)
        monkeypatch.setattr(Sharing, "look", lambda _: 1)
        monkeypatch.setattr(
            type(engine), "__call__", lambda self, x: seen.append(torch.get_num_threads()) or torch.zeros(1, 1)
        )
        own(torch.zeros(1, 3, 8, 8))
        session.Session(engine, threads=2)(torch.zeros(1, 3, 8, 8))  # who names a number has it
        torch.set_num_threads(1)
        born_with_one = session.Session(engine)
        torch.set_num_threads(2)
        born_with_one(torch.zeros(1, 3, 8, 8))  # nobody else needs a core for that
        assert (seen, torch.get_num_threads()) == ([1, 2, 2], 2)
    finally:
        torch.set_num_threads(before)
