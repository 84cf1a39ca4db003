"""What one process does alone, the others wait for."""

from __future__ import annotations

import time
from datetime import timedelta

from torch import distributed

from launch import together
from sparring.work import processes


def work_alone(rank: int) -> None:
    # Both are there before the timeout of training is cut down to what a test can wait for.
    processes.wait()
    distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=0.5))

    def judge() -> str:
        time.sleep(1.5)
        return f"said by {rank}"

    assert processes.on_main(judge) == "said by 0"
    if rank == 0:
        time.sleep(1.5)
    processes.wait()


def test_work_of_one_process_may_take_longer_than_the_timeout_of_training() -> None:
    together(work_alone)
