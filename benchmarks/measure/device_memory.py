"""Peak device memory of a process, as NVIDIA's driver counts it.

Not run on a GPU: tested with a stand-in for the driver.
"""

import threading
from types import ModuleType

PERIOD = 0.05  # seconds between samples


class DeviceMemory:
    """Watches one process from another one while the block runs.

        with DeviceMemory(process.pid) as watched:
            process.wait()
        watched.peak  # bytes on all devices together

    `peak` is None without an NVIDIA driver, and where the driver never named the process: one that used no GPU, or one
    in a container, whose process numbers the driver does not know. What is held for less than 50 ms may go unseen.
    """

    def __init__(self, pid: int):
        self.peak: int | None = None
        self._pid = pid
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "DeviceMemory":
        driver = _driver()
        if driver is not None:
            self._thread = threading.Thread(target=self._watch, args=(driver,), daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, driver: ModuleType) -> None:
        try:
            devices = [driver.nvmlDeviceGetHandleByIndex(i) for i in range(driver.nvmlDeviceGetCount())]
            while True:
                if (used := self._used(driver, devices)) is not None:
                    self.peak = max(self.peak or 0, used)
                if self._ended.wait(PERIOD):
                    return
        except driver.NVMLError:
            self.peak = None  # a peak of some of the samples would look like one of all of them
        finally:
            driver.nvmlShutdown()

    def _used(self, driver: ModuleType, devices: list) -> int | None:
        """Bytes now; None where no device names the process, or a driver that does not count by process."""
        sizes = [
            process.usedGpuMemory
            for device in devices
            for process in driver.nvmlDeviceGetComputeRunningProcesses(device)
            if process.pid == self._pid
        ]
        return sum(sizes) if sizes and None not in sizes else None


def _driver() -> ModuleType | None:
    """NVML, initialised, or None where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
