import threading
import time
from pathlib import Path

from patchshift.runtime.locks import one_process


def test_a_lock_that_its_holder_removed_keeps_nobody_out_and_lets_only_one_in(tmp_path: Path) -> None:
    alone, intrusions = threading.Lock(), []

    def enter() -> None:
        for _ in range(30):
            with one_process(tmp_path / "lock", "entering"):
                if not alone.acquire(blocking=False):
                    intrusions.append(1)
                    continue
                time.sleep(0.001)  # time for an intruder to come in
                alone.release()

    threads = [threading.Thread(target=enter) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert intrusions == []
    assert list(tmp_path.iterdir()) == []
