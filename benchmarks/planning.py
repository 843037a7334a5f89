"""What planning costs beside Snakemake itself: a large study, and the demo when nothing is to be done.

usage: python benchmarks/planning.py [--categories 60] [--detectors 8] [--seeds 3] [--rounds 3] [--demo FOLDER]

The large study (30,000 jobs unless told otherwise) is planned by `snakemake --dry-run` in a temporary folder, and
beside it a bare Snakefile of as many jobs: rules with the same outputs, inputs, logs and wildcards as literal patterns,
each wildcard a part of a path, and no function, config or parameter. With `--demo`, a checkout whose demo is complete,
its dry run stands beside that of an empty workflow and the imports of all that the rules import from `patchshift`.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from workflow_copy import copy_workflow

DOMAINS = (
    *("clean", "photometric_mild", "photometric_moderate", "photometric_severe"),
    *("geometric_mild", "geometric_moderate"),
)
TOTAL = re.compile(r"^total +(\d+)$", re.MULTILINE)
IMPORT = re.compile(r"^from patchshift[\w. ]+import (?:\([^)]*\)|[^(\n]+)$", re.MULTILINE)

CONFIG = """
study: planned
question: How long does planning take?
data_dir: data
add:
  datasets: {{made: {{adapter: folder, folder: made, categories: [{categories}]}}}}
  detectors: {{{detectors}}}
select: {{splits: [source_plan], backbones: [scattering], detectors: [{names}], thresholds: [f1_max]}}
experiments:
  shifted: {{title: "All shifts", train: [made], target_domains: [{targets}], seeds: [{seeds}]}}
"""

BANK = "{dataset}/{category}/{domain}/{split}/{backbone}/{detector}/seed{seed}"
ON = "{target_dataset}/{target_category}/{target_domain}"
FROM = "{calibration_dataset}/{calibration_category}/{calibration_domain}/{policy}"
TARGET = "{dataset}/{category}/{domain}"
SPLIT_OF = "results/splits/{target_dataset}/{target_category}/{split}.csv"
SCORES = f"results/scores/{BANK}/on/{ON}.h5"
RULES = {
    "index_images": ("results/images/{dataset}/{category}.csv", []),
    "split_images": ("results/splits/{dataset}/{category}/{split}.csv", ["results/images/{dataset}/{category}.csv"]),
    "synthesize_shift": (f"results/domains/{TARGET}.csv", ["results/images/{dataset}/{category}.csv"]),
    "pack_images": (f"results/packs/{TARGET}.h5", [f"results/domains/{TARGET}.csv"]),
    "extract_features": (f"results/features/{TARGET}/{{backbone}}.h5", [f"results/domains/{TARGET}.csv"]),
    "fit_detector": (
        f"results/banks/{BANK}.h5",
        [f"results/features/{TARGET}/{{backbone}}.h5", "results/splits/{dataset}/{category}/{split}.csv"],
    ),
    "score_images": (
        SCORES,
        [f"results/banks/{BANK}.h5", f"results/features/{ON}/{{backbone}}.h5", SPLIT_OF],
    ),
    "calibrate_threshold": (
        f"results/thresholds/{BANK}/from/{FROM}.json",
        [
            f"results/scores/{BANK}/on/{FROM.removesuffix('/{policy}')}.h5",
            f"results/packs/{FROM.removesuffix('/{policy}')}.h5",
            "results/splits/{calibration_dataset}/{calibration_category}/{split}.csv",
        ],
    ),
    "evaluate": (f"results/metrics/{BANK}/on/{ON}.json", [SCORES, f"results/packs/{ON}.h5", SPLIT_OF]),
    "decide": (
        f"results/decisions/{BANK}/on/{ON}/from/{FROM}.json",
        [SCORES, f"results/packs/{ON}.h5", SPLIT_OF, f"results/thresholds/{BANK}/from/{FROM}.json"],
    ),
}
"""Rule -> its output and inputs, in a workflow that decides nothing."""
PLURALS = {"category": "categories", "detector": "detectors", "seed": "seeds"}


@dataclass(frozen=True)
class Cost:
    """What a command takes: seconds of processors and of the clock, its largest memory in MB, and what it said."""

    processors: float
    clock: float
    memory: float
    told: str

    @property
    def jobs(self) -> int:
        """Jobs that the command planned; 0 of one that plans none."""
        found = TOTAL.search(self.told)
        return int(found.group(1)) if found else 0


def measure(command: list[str], folder: Path) -> Cost:
    """Run a command in a folder, whose library stands before any installed one; exit with its message if it fails."""
    environment = os.environ | {"PYTHONPATH": str(folder / "workflow_scripts")}
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        clock = time.perf_counter() - start
        output.seek(0)
        told = output.read()
    if status:
        sys.exit(f"{' '.join(command)} in {folder}: {told[-2000:]}")
    return Cost(used.ru_utime + used.ru_stime, clock, used.ru_maxrss / 1024, told)


def take_best(rounds: int, sides: Mapping[str, Callable[[], Cost]]) -> dict[str, Cost]:
    """The cheapest run of each side, the sides taking turns."""
    costs = [{name: side() for name, side in sides.items()} for _ in range(rounds)]
    return {name: min((each[name] for each in costs), key=lambda cost: cost.processors) for name in sides}


def dry_run(folder: Path) -> Cost:
    return measure([sys.executable, "-m", "snakemake", "--cores", "2", "--dry-run", "all"], folder)


def write_study(args: argparse.Namespace, folder: Path) -> None:
    """A checkout whose study trains each detector on each category, and scores and decides each under all shifts."""
    names = [f"bank{number}" for number in range(args.detectors)]
    config = CONFIG.format(
        categories=", ".join(f"part{number}" for number in range(args.categories)),
        detectors=", ".join(
            f"{name}: {{method: patchcore, sampler: {{count: {1000 + place}}}}}" for place, name in enumerate(names)
        ),
        names=", ".join(names),
        targets=", ".join(DOMAINS),
        seeds=", ".join(map(str, range(args.seeds))),
    )
    copy_workflow(folder, config)


def write_bare(args: argparse.Namespace, folder: Path) -> None:
    """A Snakefile of the same stages, of which `all` asks for the metrics and decisions of the same cells."""
    bank = "made/part{category}/clean/source_plan/scattering/bank{detector}/seed{seed}"
    on = "made/part{category}/{target}"
    wanted = [
        f"results/metrics/{bank}/on/{on}.json",
        f"results/decisions/{bank}/on/{on}/from/made/part{{category}}/clean/f1_max.json",
    ]
    ranges = ", ".join(f"{name}=range({getattr(args, plural)})" for name, plural in PLURALS.items())
    names = sorted({name for output, _ in RULES.values() for name in re.findall(r"{(\w+)}", output)})
    lines = ["wildcard_constraints:", *(f"    {name}='[^/]+'," for name in names)]
    lines += ["rule all:", "    input:", f"        expand({wanted}, {ranges}, target={list(DOMAINS)}),", ""]
    for rule, (output, inputs) in RULES.items():
        place = output.removeprefix("results/").partition("/")[2].rpartition(".")[0]
        lines += [
            f"rule {rule}:",
            *(["    input:", *(f"        {path!r}," for path in inputs)] if inputs else []),
            f"    output: {output!r}",
            f"    log: 'results/logs/{rule}/{place}.log'",
            f"    benchmark: 'results/benchmarks/{rule}/{place}.tsv'",
            f"    shell: 'python {rule}.py {{input:q}} {{output:q}} > {{log:q}} 2>&1'",
            "",
        ]
    (folder / "Snakefile").write_text("\n".join(lines), encoding="utf-8")


def import_plan(checkout: Path) -> Cost:
    """What the rules of a checkout import of the library, in a fresh interpreter."""
    rules = [checkout / "Snakefile", *sorted((checkout / "rules").glob("*.smk"))]
    lines = [line for path in rules for line in IMPORT.findall(path.read_text(encoding="utf-8"))]
    return measure([sys.executable, "-c", "\n".join(lines)], checkout)


def print_table(costs: Mapping[str, Cost], base: float) -> None:
    print("| side | jobs | processor seconds | seconds | relative | peak memory, MB |")
    print("|---|---|---|---|---|---|")
    for name, cost in costs.items():
        relative = f"{cost.processors / base:.2f}"
        numbers = f"{cost.processors:.2f} | {cost.clock:.2f} | {relative} | {cost.memory:,.0f}"
        jobs = f"{cost.jobs:,}" if cost.jobs else "-"
        print(f"| {name} | {jobs} | {numbers} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--categories", type=int, default=60)
    parser.add_argument("--detectors", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--demo", type=Path, help="a checkout where `make demo` has run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours, bare, empty = (Path(folder, name) for name in ("ours", "bare", "empty"))
        for each in (ours, bare, empty):
            each.mkdir()
        write_study(args, ours)
        write_bare(args, bare)
        costs = take_best(args.rounds, {"bare Snakefile": lambda: dry_run(bare), "the study": lambda: dry_run(ours)})
        print_table(costs, costs["bare Snakefile"].processors)
        if args.demo:
            demo = args.demo.resolve()
            (empty / "Snakefile").write_text("rule all:\n", encoding="utf-8")
            sides = {
                "empty workflow": lambda: dry_run(empty),
                "imports of the rules": lambda: import_plan(demo),
                "the demo, complete": lambda: dry_run(demo),
            }
            costs = take_best(5 * args.rounds, sides)
            if "Nothing to be done" not in costs["the demo, complete"].told:
                sys.exit(f"{demo}: its demo is not complete: run `make demo` there first")
            print()
            print_table(costs, sum(costs[side].processors for side in list(sides)[:2]))


if __name__ == "__main__":
    main()
