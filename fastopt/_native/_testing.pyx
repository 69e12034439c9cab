# cython: language_level=3
"""Hooks for tests: the back-off of thread teams, and the size below which one thread does the work."""

from libc.stdint cimport int64_t

from fastopt._native.runtime cimport api


def report_job(double total, double least, int threads, bint reduced=False):
    """Report a job: its seconds, the least seconds that one of its threads worked, and whether the team was reduced."""
    api.testing.report_job(total, least, threads, reduced)


def team_size(int threads):
    """How many threads do the next job, if it asks for so many."""
    return api.testing.team_size(threads)


def set_backoff(bint on):
    """Switch the back-off of thread teams on or off, clear its history, and return the old setting."""
    return api.testing.set_backoff(on)


def serial_threshold():
    """Steps of fewer elements than this run on the calling thread and never enter the OpenMP runtime."""
    return api.testing.serial_threshold()


def set_serial_threshold(int64_t elements):
    """Set the threshold and return the old one."""
    old = api.testing.serial_threshold()
    api.testing.set_serial_threshold(elements)
    return old
