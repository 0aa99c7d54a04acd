"""python -m sa.benchmarks.scaling.fleet: a fleet of devices that fail, simulated with a seed. A sketch, not a promise.

It is built on what sa-batch guarantees: a case is handed to one worker at a time, a killed case goes on after its last
step, and a result appears whole. Everything else is an assumption, and a field of `Fleet`.
"""

import heapq
import random
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Fleet:
    """What is assumed. All times in seconds."""

    devices: int
    cases_per_device: int = 20
    case: float = 1200.0  # mean of a case on a warm device; lengths are lognormal
    spread: float = 0.5  # standard deviation of the logarithm
    steps: int = 25  # of a case; state is kept after each
    overhead: float = 1.0  # of a case, beside its work: handing out, reading, writing videos
    load: float = 60.0  # engines from the local disk into a device
    set_bytes: float = 8e9  # copied to a node before its first load
    node_bandwidth: float = 1e9  # bytes a second that a node takes
    store_bandwidth: float = 20e9  # bytes a second that the store gives to all at once
    boot: float = 90.0  # a node until it asks for work
    lifetime: float = 4 * 3600.0  # mean time until a spot device is taken away; exponential
    replacement: float = 300.0  # until another takes its place
    resume: bool = True  # a killed case goes on after its last step; else it begins anew


@dataclass(frozen=True)
class Outcome:
    """What became of it. Device-seconds add up to all that devices were held."""

    seconds: float  # until the last case ended
    work: float  # device-seconds that ended in a result
    lost: float  # work that a kill threw away
    starting: float  # booting, copying, loading
    overhead: float
    idle: float  # nothing left to do, while others were still at work; devices are kept to the end
    kills: int
    most_attempts: int  # of one case

    @property
    def efficiency(self) -> float:
        """The share of device-seconds that ended in a result."""
        return self.work / (self.work + self.lost + self.starting + self.overhead + self.idle)


def simulate(fleet: Fleet, seed: int = 0) -> Outcome:
    """Events in order of time: a device that is free takes a case that was interrupted, else a new one."""
    chance = random.Random(seed)
    mean = -(fleet.spread**2) / 2  # of the logarithm, so that the lengths have the mean `case`
    lengths = [
        fleet.case * chance.lognormvariate(mean, fleet.spread) for _ in range(fleet.devices * fleet.cases_per_device)
    ]
    # Each case: seconds of work left, seconds of a step, attempts.
    queue = [(length, length / fleet.steps, 0) for length in lengths]
    at_once = max(1.0, fleet.devices * fleet.node_bandwidth / fleet.store_bandwidth)  # all nodes start together
    copy = fleet.set_bytes / fleet.node_bandwidth
    totals = dict(work=0.0, lost=0.0, starting=0.0, overhead=0.0, idle=0.0)
    kills = most = order = 0
    last = 0.0
    free: list[tuple[float, int, float]] = []  # devices: free from when, number, taken away when
    interrupted: list[tuple[float, int, tuple[float, float, int]]] = []  # cases: to be had from when, order, case

    def begin(device: int, when: float, copying: float) -> None:
        start = fleet.boot + copying + fleet.load
        totals["starting"] += start
        heapq.heappush(free, (when + start, device, when + start + chance.expovariate(1 / fleet.lifetime)))

    for device in range(fleet.devices):
        begin(device, 0.0, copy * at_once)
    while queue or interrupted:
        now, device, dies = heapq.heappop(free)
        ready = bool(interrupted) and interrupted[0][0] <= now
        if not queue and not ready:  # it waits for a case that will be interrupted
            until = min(interrupted[0][0], dies)
            totals["idle"] += until - now
            if dies <= until:
                begin(device, dies + fleet.replacement, copy)
            else:
                heapq.heappush(free, (until, device, dies))
            continue
        left, step, attempts = heapq.heappop(interrupted)[2] if ready else queue.pop()
        most = max(most, attempts + 1)
        ends = now + fleet.overhead + left
        if ends <= dies:
            totals["work"] += left
            totals["overhead"] += fleet.overhead
            last = max(last, ends)
            heapq.heappush(free, (ends, device, dies))
            continue
        kills += 1
        did = max(0.0, dies - now - fleet.overhead)
        kept = did // step * step if fleet.resume else 0.0
        totals["overhead"] += min(fleet.overhead, dies - now)
        totals["work"] += kept
        totals["lost"] += did - kept
        order += 1
        heapq.heappush(interrupted, (dies, order, (left - kept, step, attempts + 1)))
        begin(device, dies + fleet.replacement, copy)
    totals["idle"] += sum(last - since for since, _, _ in free if since < last)
    return Outcome(seconds=last, kills=kills, most_attempts=most, **totals)


def table(seed: int = 0) -> str:
    """Markdown: 10, 100 and 1000 devices that last, that are taken away, and without going on after a kill."""
    lines = [
        "| devices | lifetime | a killed case | hours | efficiency | lost | starting | idle | kills | most attempts |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for devices in (10, 100, 1000):
        fleet = Fleet(devices)
        for changed in (
            replace(fleet, lifetime=1e12),
            fleet,
            replace(fleet, resume=False),
            replace(fleet, lifetime=3600.0),
            replace(fleet, lifetime=3600.0, resume=False),
        ):
            made = simulate(changed, seed)
            held = made.work / made.efficiency
            life = "for ever" if changed.lifetime > 1e9 else f"{changed.lifetime / 3600:g} h"
            how = "goes on" if changed.resume else "begins anew"
            shares = " | ".join(f"{part / held:.1%}" for part in (made.lost, made.starting, made.idle))
            lines.append(
                f"| {devices} | {life} | {how if made.kills else ''} | {made.seconds / 3600:.2f} | "
                f"{made.efficiency:.1%} | {shares} | {made.kills} | {made.most_attempts} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
