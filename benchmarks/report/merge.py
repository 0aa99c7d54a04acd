"""Merges result files of any number of machines into report.html, which needs no other file, report.md and rows.csv."""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from sa.benchmarks.measure import results
from sa.benchmarks.measure.results import Row
from sa.benchmarks.report import units
from sa.benchmarks.report.comparison import Host, compare, count_setups, measured_at, without_duplicates
from sa.benchmarks.report.rows_csv import rows_csv
from sa.runtime.contract import Manifest
from sa.runtime.errors import InputError
from sa.runtime.output.staging import replace_entry, staged
from sa.runtime.system import signals

TITLE = "StableAnimator on engines: benchmark report"
FILES = ("report.html", "report.md", "rows.csv")
# The most in one report: nobody reads more, and hostile files could keep us busy for hours.
SETUPS = 300
SUBJECTS = 100


def merge(
    paths: Sequence[Path],
    out: Path,
    price_per_hour: Mapping[str, float] | None = None,
    manifests: Sequence[Manifest] = (),
) -> None:
    """Write report.html, report.md and rows.csv into the folder `out`, from result files of `sa-bench run`.

    price_per_hour: euros, by a part of a device's name. manifests: engine sets whose floors to predict for other cards.
    InputError for a file, a price or an output folder that cannot be used; then nothing is written.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: give --out a folder.")
    rows = _read(paths)
    hosts = compare(rows)
    html, text = render(rows, hosts, dict(price_per_hour or {}), manifests)
    with staged(out) as staging:
        for name, content in zip(FILES, (html, text, rows_csv(rows)), strict=True):
            (staging / name).write_text(content, encoding="utf-8")
        with signals.ignored():
            out.mkdir(exist_ok=True)
            for name in FILES:
                replace_entry(staging / name, out / name)


def _read(paths: Sequence[Path]) -> list[Row]:
    rows = without_duplicates(row for path in paths for row in results.read(path))
    if not rows:
        raise InputError(f"{', '.join(map(str, paths))}: no rows in there; give the results.jsonl of sa-bench run.")
    if len(rows) > results.ROW_LIMIT:
        raise InputError(f"the files have {len(rows)} rows together, more than {results.ROW_LIMIT}: merge fewer.")
    for name, number, most in (
        ("set-ups", count_setups(rows), SETUPS),
        ("subjects", len({row.subject for row in rows}), SUBJECTS),
    ):
        if number > most:
            raise InputError(f"the files have {number} {name} together, more than {most}: merge fewer.")
    return rows


def render(
    rows: list[Row], hosts: list[Host], prices: dict[str, float], manifests: Sequence[Manifest]
) -> tuple[str, str]:
    """The report as HTML and as Markdown."""
    try:
        import jinja2
    except ImportError:
        raise InputError(
            "sa-bench merge needs jinja2, which is not installed: `pip install 'stableanimator-deploy[bench]'`."
        ) from None
    from sa.benchmarks.report.markdown import markdown

    sections = _sections(hosts, prices, manifests)
    subtitle = _subtitle(rows, hosts)
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: units.clean(value) if type(value) is str else value,
    )
    template = (resources.files("sa.benchmarks.report") / "report.html.j2").read_text(encoding="utf-8")
    page = environment.from_string(template).render(title=TITLE, subtitle=subtitle, sections=sections)
    return page, markdown(TITLE, subtitle, sections)


def _sections(hosts: list[Host], prices: dict[str, float], manifests: Sequence[Manifest]) -> list:
    from sa.benchmarks.report.roofline import load_cards
    from sa.benchmarks.report.sections.across_machines import across_machines
    from sa.benchmarks.report.sections.guide import GUIDE
    from sa.benchmarks.report.sections.machines import machine_sections
    from sa.benchmarks.report.sections.measured_cards import measured_cards
    from sa.benchmarks.report.sections.notes import notes
    from sa.benchmarks.report.sections.predictions import floor_against_measurement, predictions
    from sa.benchmarks.report.sections.summary import summary

    cards = [card.name for card in load_cards().values()] if manifests else []
    priced = _priced([*(host.machine.device for host in hosts), *cards], prices)

    def price(host: Host) -> float | None:
        return priced.get(host.machine.device)

    sections = [summary(hosts, price), across_machines(hosts, price)]
    for host in hosts:
        sections += machine_sections(host, price(host))
    sections += [measured_cards(hosts), floor_against_measurement(hosts), *predictions(manifests, priced)]
    sections += [notes(hosts, price), GUIDE]
    return [section for section in sections if section is not None]


def _priced(devices: list[str], prices: dict[str, float]) -> dict[str, float]:
    """Euros per hour, by device. If several names fit one device, the longest counts."""
    found = {}
    for device in devices:
        fitting = [name for name in prices if name.lower() in device.lower()]
        if fitting:
            found[device] = prices[max(fitting, key=len)]
    for name in prices:
        if not any(name.lower() in device.lower() for device in devices):
            raise InputError(
                f"--price-per-hour {name}: no such device in the results, which have "
                f"{'; '.join(dict.fromkeys(device for device in devices))[:300]}."
            )
    return found


def _subtitle(rows: list[Row], hosts: list[Host]) -> str:
    setups = sum(len(list(host.setups)) for host in hosts)
    days = sorted(when.date().isoformat() for row in rows if (when := measured_at(row)).year > 1)
    span = "" if not days else f", measured {days[0]}" + (f" to {days[-1]}" if days[-1] != days[0] else "")
    versions = ", ".join(sorted({row.project_version for row in rows})[:5])
    return (
        f"{_count(len(hosts), 'machine')}, {_count(setups, 'set-up')}, {_count(len(rows), 'row')}{span}; "
        f"project version {versions}"
    )


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
