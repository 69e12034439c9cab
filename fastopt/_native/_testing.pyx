# cython: language_level=3
"""Hooks for tests: the back-off of thread teams, and the size below which one thread does the work."""

from libc.stdint cimport int64_t

from fastopt._native.runtime cimport api


def judge_team(double total, double least, int threads, bint held=False):
    """Record a job of a team: its seconds, and those that its least busy thread worked. held: the team was reduced."""
    api.testing.judge_team(total, least, threads, held)


def team_size(int threads):
    """How many threads do the next job, if it asks for so many."""
    return api.testing.team_size(threads)


def set_holds(bint on):
    """Switch the back-off of thread teams on or off, clear its history, and return the old setting."""
    return api.testing.set_holds(on)


def serial_threshold():
    """Steps of fewer elements than this run on the calling thread and never enter the OpenMP runtime."""
    return api.testing.serial_threshold()


def set_serial_threshold(int64_t elements):
    """Set the threshold and return the old one."""
    old = api.testing.serial_threshold()
    api.testing.set_serial_threshold(elements)
    return old
