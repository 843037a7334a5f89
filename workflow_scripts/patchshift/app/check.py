"""Check a finished study: planned rows, ranges, figures, log, digests, and whether it is up to date.

Tested in tests/workflow/test_closing.py and tests/app/test_check.py.
"""

import argparse
import json
from pathlib import Path

from patchshift.app.rebuild import DEFAULT, tell_rebuild, tell_run
from patchshift.errors import UserError
from patchshift.plan import Study, load_study, read_yaml
from patchshift.plan.loading import did_you_mean

SHOWN = 5
"""Problems of one check that are printed; `--json` has all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("study", help="the study's name, or its config file")
    parser.add_argument("--json", action="store_true", help="print JSON, with all problems")


def run(args: argparse.Namespace) -> None:
    """Print one line per check, and the problems below those that failed.

    Raises:
        UserError: if the study is not known, was never run, or a check failed.
    """
    from patchshift.app.checklist import check_study  # pandas need not be there for --help

    config = find_config(args.study)
    study = find_study(str(config))
    if not Path(study.folder).is_dir():
        raise UserError(f"{study.folder} does not exist: run the study first ({tell_run(config)})")
    findings = check_study(study)
    failed = [finding.check for finding in findings if finding.problems]
    damaged = list(dict.fromkeys(path for finding in findings for path in finding.rebuild))
    rebuild = tell_rebuild(study, config, damaged) if damaged else None
    if args.json:
        checks = [{"check": each.check, "told": each.told, "problems": each.problems} for each in findings]
        told = {"study": study.name, "passed": not failed, "checks": checks, "rebuild": rebuild, "paths": damaged}
        print(json.dumps(told, indent=1))
    else:
        width = max(len(finding.check) for finding in findings)
        for finding in findings:
            print(f"{'FAIL' if finding.problems else 'ok':<5} {finding.check:<{width}}  {finding.told}".rstrip())
            for problem in finding.problems[:SHOWN]:
                print(f"      - {problem}")
            if len(finding.problems) > SHOWN:
                print(f"      - and {len(finding.problems) - SHOWN} more (--json has all)")
        if rebuild:
            print(f"To make what is stale, damaged or missing, and what comes from it:\n  {rebuild}")
    if failed:
        raise UserError(f"study {study.name}: {len(failed)} of {len(findings)} checks failed: {', '.join(failed)}")
    if not args.json:
        print(f"study {study.name}: all {len(findings)} checks passed")


def find_study(name: str) -> Study:
    """The study of a config file, or the one of that name among `config.yaml` and the files below `configs/`.

    Raises:
        UserError: if there is none or several, or its config has mistakes.
    """
    path = find_config(name)
    return load_study(read_yaml(path), str(path))


def find_config(name: str) -> Path:
    """The config file of a study: itself, or the one among this checkout's of that name.

    Raises:
        UserError: if there is none or several.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        return path
    named: dict[str, list[Path]] = {}
    for file in [DEFAULT, *sorted(Path("configs").rglob("*.yaml"))]:
        try:
            named.setdefault(str(read_yaml(file).get("study", "")), []).append(file)
        except UserError:  # not the one that is looked for, or Snakemake says so
            continue
    named.pop("", None)  # the catalog
    if name not in named:
        raise UserError(f"no config file here is of a study '{name}'{did_you_mean(name, named)}")
    if len(named[name]) > 1:
        raise UserError(f"several configs are of study '{name}': give one of {', '.join(map(str, named[name]))}")
    return named[name][0]
