"""How the threads of one computation wait for each other, settled before the libraries that start them are imported.

Training on a processor is thousands of short parallel steps a second, and at the end of each all threads meet. GNU's
OpenMP, which torch brings on Linux, lets those that are early spin for a millisecond or more. On an idle machine that
is the quickest way; where other programs want the cores, a spinning thread uses up the turn that the late one waits
for. Two threads beside two other busy programs on two cores trained 14 images a second as they come, 42 with short
spinning and 225 with none; on the idle machine 870, 870 and 605 (a student of 0.3 M parameters at 64 px).
"""

from __future__ import annotations

import os

# Commands that compute for minutes, and are worth a moment's look at the machine.
LONG = frozenset({"quickstart", "train", "cache", "distill"})

_SPIN = "GOMP_SPINCOUNT"
_CHOSEN_BY_USER = (_SPIN, "OMP_WAIT_POLICY")
_IDLE_SPINS, _BUSY_SPINS = 20_000, 0
_BUSY_SHARE, _LOOK_SECONDS = 50.0, 0.2


def settle_waiting() -> None:
    """Choose how long early threads spin by how busy the machine is; what the user has set stays.

    The variable is read once, when OpenMP is loaded, so this comes before torch. Other OpenMP libraries ignore it.
    """
    if any(name in os.environ for name in _CHOSEN_BY_USER):
        return
    import psutil  # for these commands alone: a search shall not wait for it

    busy = psutil.cpu_percent(interval=_LOOK_SECONDS) > _BUSY_SHARE
    os.environ[_SPIN] = str(_BUSY_SPINS if busy else _IDLE_SPINS)
