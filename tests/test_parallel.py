"""Maps over threads: order, the number of items that are held, and workers that do one thing at a time."""

import threading
import time

import pytest

from hazeheal.utils.parallel import Workers, ordered_map


def test_results_come_in_order_and_few_items_are_read_ahead():
    read = []

    def items():
        for i in range(30):
            read.append(i)
            yield i

    def late(i):
        time.sleep(0.01 * (i % 3 == 0))
        return i * i

    for i, (item, result) in enumerate(ordered_map(late, items(), threads=4, ahead=5)):
        assert (item, result) == (i, i * i)
        assert len(read) <= i + 7
    assert i == 29


def test_a_worker_does_one_thing_at_a_time_and_all_are_used():
    busy, used, lock = set(), set(), threading.Lock()

    def work(worker, item):
        with lock:
            assert worker not in busy
            busy.add(worker)
        time.sleep(0.005)
        with lock:
            busy.remove(worker)
            used.add(worker)
        return item + 1

    results = []
    workers = Workers("abc", on_result=lambda: results.append(threading.current_thread()))
    # The items of one map come from another one, over the same workers.
    found = [result for _, result in workers.map(work, (item for _, item in workers.map(work, range(20))))]
    assert found == list(range(2, 22))
    assert used == set("abc")
    assert results == [threading.main_thread()] * 40


def test_the_first_error_ends_the_map_and_the_workers_can_be_used_again():
    def work(worker, item):
        if item == 3:
            raise ValueError("three")
        return item

    workers, found = Workers([0]), []
    with pytest.raises(ValueError, match="three"):
        for _, result in workers.map(work, range(9)):
            found.append(result)
    assert found == [0, 1, 2]
    assert [result for _, result in workers.map(work, [5, 6])] == [5, 6]
