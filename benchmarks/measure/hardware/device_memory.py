"""Peak device memory of a process, as NVIDIA's driver counts it.

This has not run on a GPU. It was tested with a stand-in for the driver.
"""

import threading
from types import ModuleType

PERIOD = 0.05  # seconds between samples


class DeviceMemory:
    """Watches another process while the block runs.

        with DeviceMemory(process.pid) as watched:
            process.wait()
        watched.peak  # bytes on all devices together

    `peak` is None without an NVIDIA driver, and if the driver never listed the process. The process then used no GPU,
    or it is in a container, whose process ids the driver does not know. Memory held for less than 50 ms may be missed.
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
            self.peak = None  # the peak of some samples would look like the peak of all
        finally:
            driver.nvmlShutdown()

    def _used(self, driver: ModuleType, devices: list) -> int | None:
        """Bytes in use now; None if no device lists the process, or the driver does not count per process."""
        sizes = [
            process.usedGpuMemory
            for device in devices
            for process in driver.nvmlDeviceGetComputeRunningProcesses(device)
            if process.pid == self._pid
        ]
        return sum(sizes) if sizes and None not in sizes else None


def _driver() -> ModuleType | None:
    """NVML, initialised, or None if there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
