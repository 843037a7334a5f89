"""Rules of the house that a reader relies on, read from the sources themselves."""

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from patchshift.plan.ledger import list_sources

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "workflow_scripts"
LIBRARY = SCRIPTS / "patchshift"
ORDER = ("errors", "plan", "runtime", "data", "features", "detectors", "evaluation", "report", "app")
MODULES = sorted(LIBRARY.rglob("*.py"))
PYTHON = [*sorted(SCRIPTS.rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]
RULE_FILES = [ROOT / "Snakefile", *sorted((ROOT / "rules").glob("*.smk"))]

# Written in pieces, so that this file does not find itself.
FORBIDDEN = {
    "an absolute path of one machine": r"(?<![\w.:/}])/(?:work|home|root|Users)/\w",
    "a registry or index address": r"(?:py"
    r"pi\.org/simple|files\.python"
    r"hosted|--(?:extra-)?index"
    r"-url|find"
    r"-links=)",
    "a credential": r"(?:ghp|hf|sk)_[A-Za-z0-9]{20,}",
}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def imports(path: Path) -> list[str]:
    """The names that a module imports, at its top or anywhere inside."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def imported(path: Path) -> Iterator[str]:
    """The parts of patchshift that a module imports, at its top or anywhere inside."""
    for name in imports(path):
        package, _, rest = name.partition(".")
        if package == "patchshift" and rest:
            yield rest.partition(".")[0]


def libraries(stage: str) -> set[str]:
    """What a stage's script and all that it leads to import beside patchshift, the names of the libraries alone."""
    names = {name.split(".")[0] for source in list_sources(stage) for name in imports(source)}
    return names - {"patchshift"}


@functools.cache
def calls(path: Path) -> list[tuple[str, ast.Call]]:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [(ast.unparse(node.func), node) for node in nodes if isinstance(node, ast.Call)]


def rules() -> dict[str, str]:
    """Rule name -> its text."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in RULE_FILES)
    names = re.split(r"^(?:rule|checkpoint) (\w+):$", text, flags=re.MULTILINE)
    return dict(zip(names[1::2], names[2::2], strict=True))


RULES = rules()
JOBS = sorted(set(RULES) - {"all", "heatmaps"})
find_distributions = functools.cache(packages_distributions)


def test_every_folder_of_the_library_has_its_place_in_the_order() -> None:
    assert {path.stem for path in LIBRARY.iterdir() if path.is_dir() and path.name != "__pycache__"} < set(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_folder_never_imports_a_later_one(path: Path) -> None:
    own = path.relative_to(LIBRARY).parts[0].removesuffix(".py")
    if own != "__init__":
        later = ORDER[ORDER.index(own) + 1 :]
        assert not set(imported(path)) & set(later)


def test_modules_rule_files_and_scripts_stay_short() -> None:
    limits = [(MODULES, 300), (RULE_FILES, 200), (sorted(SCRIPTS.glob("*.py")), 60)]
    long = [relative(path) for paths, limit in limits for path in paths if len(path.read_text().splitlines()) > limit]
    assert long == []


def test_nothing_read_from_disk_can_run_code() -> None:
    """No pickle in any disguise, and no YAML loader that builds objects."""
    unsafe = []
    for path in PYTHON:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        unsafe += [f"{relative(path)}: {name}" for name in modules & {"pickle", "dill", "joblib", "shelve", "marshal"}]
        for function, call in calls(path):
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if (
                options.get("allow_pickle", "False") != "False"
                or (function == "torch.load" and options.get("weights_only") != "True")
                or function in ("yaml.load", "yaml.unsafe_load", "pd.read_pickle", "eval", "exec", "torch.save")
            ):
                unsafe.append(f"{relative(path)}:{call.lineno}: {ast.unparse(call)}")
    assert unsafe == []


def test_pillow_never_reads_files_itself() -> None:
    """Else errors would not name the file, and nothing would compare it with its digest (data/images.py does)."""
    opened = [ast.unparse(call.args[0]) for path in MODULES for name, call in calls(path) if name == "Image.open"]
    assert opened
    assert all(argument.startswith("io.BytesIO(") for argument in opened)


@pytest.mark.parametrize("rule", JOBS)
def test_a_rule_runs_the_script_of_its_name(rule: str) -> None:
    assert re.findall(r"workflow_scripts/(\w+)\.py", RULES[rule]) == [rule]
    assert (SCRIPTS / f"{rule}.py").is_file()


@pytest.mark.parametrize("rule", JOBS)
def test_a_rule_says_where_it_logs_what_it_costs_and_what_it_needs(rule: str) -> None:
    for part in ("output", "log", "benchmark", "conda", "resources", "params", "shell"):
        assert re.search(rf"^    {part}:", RULES[rule], re.MULTILINE), part
    assert f'stage=stage_version("{rule}")' in RULES[rule]
    (environment,) = re.findall(r'"\.\./(envs/\w+\.yaml)"', RULES[rule])
    assert (ROOT / environment).is_file()


@pytest.mark.parametrize("rule", JOBS)
def test_a_rules_environment_has_what_its_script_imports(rule: str) -> None:
    (environment,) = re.findall(r'"\.\./(envs/\w+\.yaml)"', RULES[rule])
    installed = set(re.findall(r"^ +- ([\w-]+)==", (ROOT / environment).read_text(encoding="utf-8"), re.MULTILINE))
    distributions = find_distributions()
    needed = {
        distribution.lower()
        for library in libraries(rule) - sys.stdlib_module_names
        for distribution in distributions[library]
    }
    assert needed <= installed


@pytest.mark.parametrize("rule", sorted({*JOBS} - {"fit_detector", "score_images", "export_model", "predict_images"}))
def test_only_banks_load_the_search_library(rule: str) -> None:
    assert "faiss" not in libraries(rule)


@pytest.mark.parametrize("rule", ["fit_detector", "score_images", "calibrate_threshold", "evaluate", "decide"])
def test_the_jobs_that_are_most_load_no_scipy_before_they_use_it(rule: str) -> None:
    """It takes as long to load as all else that they import; a study has thousands of them."""
    program = f"import sys, {rule}; print('numpy' in sys.modules, 'scipy' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], cwd=SCRIPTS, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["True", "False"]


@pytest.mark.parametrize("rule", ["plot_shifts", "plot_inspection", "plot_attention", "write_data_card"])
def test_the_jobs_that_draw_pictures_alone_load_no_tables(rule: str) -> None:
    """A study has one for each category or dataset."""
    program = f"import sys, {rule}; print('matplotlib' in sys.modules, 'pandas' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], cwd=SCRIPTS, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["True", "False"]


@pytest.mark.parametrize("rule", JOBS)
def test_what_a_rule_puts_on_the_command_line_is_quoted(rule: str) -> None:
    shell = re.findall(r'^ {8}".*"$', RULES[rule].split("shell:")[1], re.MULTILINE)
    placeholders = re.findall(r"\{([^{}]+)\}", "".join(shell))
    assert placeholders
    assert [name for name in placeholders if not name.endswith(":q") and name != "wildcards.seed"] == []


def test_every_test_that_a_docstring_names_exists() -> None:
    named = {name for path in PYTHON for name in re.findall(r"tests/[\w/]+\.py", path.read_text(encoding="utf-8"))}
    assert named
    assert {name for name in named if not (ROOT / name).is_file()} == set()


def test_every_script_belongs_to_a_rule() -> None:
    assert {path.stem for path in SCRIPTS.glob("*.py")} == set(JOBS)


def test_the_files_kept_name_no_machine_no_registry_and_no_secret() -> None:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    found = []
    for name in filter(None, listing.stdout.split("\0")):
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        if b"\0" not in content:
            text = content.decode("utf-8")
            found += [f"{name}: {kind}" for kind, pattern in FORBIDDEN.items() if re.search(pattern, text)]
    assert found == []
