"""Writes numbers with three digits and a unit, or a dash where nothing is known; makes foreign text safe to show."""

import math

NOTHING = "–"
TIMES = "×"


def known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def digits(value: float) -> str:
    """Three significant digits without an exponent where the number allows it."""
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(float(f"{value:.2e}"))))  # 9.999 is shown as 10.0
    if not -4 <= magnitude < 7:
        return f"{value:.2e}"
    return f"{value:,.{max(0, 2 - magnitude)}f}"


def seconds(value: float | None) -> str:
    if not known(value):
        return NOTHING
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if value * factor >= 0.9995 or value == 0:  # what is shown as 1.00 and more
            return f"{digits(value * factor)} {unit}"
    return f"{digits(value * 1e6)} µs"


def memory(value: float | None) -> str:
    """Bytes as GiB or MiB."""
    if not known(value):
        return NOTHING
    return f"{digits(value / 2**30)} GiB" if value >= 2**30 else f"{digits(value / 2**20)} MiB"


def rate(value: float | None, unit: str) -> str:
    """A rate per second; `unit` is "FLOP/s" or "B/s"."""
    if not known(value):
        return NOTHING
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= factor:
            return f"{digits(value / factor)} {prefix}{unit}"
    return f"{digits(value)} {unit}"


def error(value: float | None) -> str:
    """A relative error."""
    return NOTHING if value is None else f"{value:.1e}" if math.isfinite(value) else "not finite"


def ratio(value: float | None) -> str:
    return f"{digits(value)}{TIMES}" if known(value) else NOTHING


def percent(value: float | None) -> str:
    return f"{digits(100 * value)} %" if known(value) else NOTHING


def euros(value: float | None) -> str:
    return f"€ {digits(value)}" if known(value) else NOTHING


def clean(text: str) -> str:
    """Foreign text with line ends, control characters and marks of reading direction written as escapes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
