"""The GitHub Action, the workflows and the pre-commit hooks, from a clean clone of this repository.

Left out: `uses:` of other actions is not run, and dependencies are not downloaded: pip resolves all of them against
this environment, which it sees through PYTHONPATH, and builds and installs loramerge alone. The build takes hatchling
from the package registry.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml
from command_line import MODELS, ROOT, invoke, write_recipe
from github_actions import Job
from hub.example import OWNER
from hub.routes_oauth import EXCHANGED, REQUEST_TOKEN
from secrets_scan import on_purpose

ACTION = ROOT / "action.yml"
SCRIPT = ROOT / ".github" / "action" / "loramerge.sh"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CI = ROOT / ".github" / "workflows" / "ci.yml"
HOOKS = ROOT / ".pre-commit-hooks.yaml"
HERE = sysconfig.get_path("purelib")
MAY = {
    ("release.yml", "publish"): {"id-token": "write", "attestations": "write"},
    ("release.yml", "container"): {
        "contents": "read", "packages": "write", "id-token": "write", "attestations": "write"
    },
    ("release.yml", "release"): {"contents": "write"},
    ("release.yml", "docs"): {"contents": "write"},
}  # fmt: skip
"""What a job may that its workflow may not."""
USED = {"actions/setup-python": {"python-path": sys.executable}}
DECIDE, INSTALL = "Decide between plan and run", "Install loramerge"
INK = "org/ink"
PAGE = ROOT / "docs" / "gitops.md"

needs_git = pytest.mark.skipif(
    not (shutil.which("git") and (ROOT / ".git").exists()), reason="the tests clone this repository with git"
)


def loaded(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def scripts(document):
    """Every `run` of a workflow or an action."""
    jobs = [document["runs"]] if "runs" in document else document["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def uses(document):
    jobs = [document["runs"]] if "runs" in document else document["jobs"].values()
    return [step["uses"] for job in jobs for step in job["steps"] if "uses" in step]


# What the files say


@pytest.mark.parametrize(
    ("schema", "paths"),
    [("vendor.github-actions", [ACTION]), ("vendor.github-workflows", WORKFLOWS)],
    ids=["action", "workflows"],
)
def test_files_are_valid_by_their_schema(schema, paths):
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_hooks_are_valid():
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "validate-manifest", HOOKS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def has_nothing_to_say(program, arguments):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = os.environ.get(program.upper()) or shutil.which(program, path=path)
    if not found:
        pytest.skip(f"{program} is not on PATH, and {program.upper()} names none")
    done = subprocess.run([found, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("actionlint", ["-no-color", *WORKFLOWS]),
        ("zizmor", ["--offline", "--no-progress", "."]),
        ("shellcheck", [SCRIPT]),
        ("hadolint", [ROOT / "Containerfile"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_linter_has_nothing_to_say(program, arguments):
    has_nothing_to_say(program, arguments)


@pytest.mark.parametrize("path", [ACTION, *WORKFLOWS], ids=lambda path: path.name)
def test_no_script_is_put_together_from_what_others_wrote(path):
    for script in scripts(loaded(path)):
        assert "${{" not in script


@pytest.mark.parametrize("path", [ACTION, *WORKFLOWS], ids=lambda path: path.name)
def test_actions_of_others_are_pinned_to_a_commit(path):
    for name in uses(loaded(path)):
        assert name == "./" or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", name)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_and_runs_once_at_a_time(path):
    workflow = loaded(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert "${{ github.ref }}" in workflow["concurrency"]["group"]
    for name, job in workflow["jobs"].items():
        assert "timeout-minutes" in job
        assert job.get("permissions") == MAY.get((path.name, name)), name


def test_ci_tries_what_the_package_promises():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    matrix = loaded(CI)["jobs"]["versions"]["strategy"]["matrix"]
    assert [name.partition("-")[0] for name in matrix["os"]] == ["ubuntu", "macos", "windows"]
    assert matrix["python"][0] == re.search(r'requires-python = ">=(.*)"', project)[1]


@pytest.mark.parametrize("versions", ["oldest", "newest"])
def test_the_oldest_versions_are_the_lower_bounds(versions, tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (script,) = (script for script in scripts(loaded(CI)) if "held.txt" in script and "pip" not in script)
    subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env={**os.environ, "VERSIONS": versions}, check=True)
    bounds = dict(re.findall(r'^    "([\w-]+)>=([\d.]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    expected = [f"{name}=={bounds[name]}" for name in ("diffusers", "peft", "torch")] if versions == "oldest" else []
    assert (tmp_path / "held.txt").read_text().split() == expected


def test_the_token_that_writes_reaches_the_run_alone():
    steps = {step["name"]: step.get("env", {}) for step in loaded(ACTION)["runs"]["steps"]}
    seen = {secret: [name for name in steps if secret in json.dumps(steps[name])] for secret in ("hf-token", "hf-oidc")}
    assert seen == {"hf-token": ["Run"], "hf-oidc": ["Run"]}
    # A token of the job's own environment would reach them otherwise.
    for name in ("Plan", "Check locks"):
        assert {"HF_TOKEN", "HF_OIDC_RESOURCE"} <= steps[name].keys()


def test_every_input_is_used_and_explained():
    action = loaded(ACTION)
    text = json.dumps(action["runs"])
    for name, each in action["inputs"].items():
        assert each["description"].endswith(".")
        assert f"inputs.{name}" in text


# The action, step by step


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A user without any settings, who may use git."""
    home = tmp_path_factory.mktemp("home")
    config = "[user]\n\tname = Nobody\n\temail = nobody@example.org\n[safe]\n\tdirectory = *\n"
    (home / "gitconfig").write_text(config + "[init]\n\tdefaultBranch = main\n")
    return home


@pytest.fixture(scope="module")
def git(home):
    """git as that user: neither the settings of the machine nor those of whoever runs the tests."""
    own = {"HOME": str(home), "GIT_CONFIG_GLOBAL": str(home / "gitconfig"), "GIT_CONFIG_NOSYSTEM": "1"}
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | own

    def git(*arguments, cwd):
        subprocess.run(["git", *arguments], cwd=cwd, env=env, check=True, capture_output=True, text=True)

    git.env = own
    return git


@pytest.fixture(scope="module")
def clone(git, tmp_path_factory):
    """A clean clone of this repository, as the runner makes one of an action."""
    folder = tmp_path_factory.mktemp("clone") / "loramerge"
    git("clone", "--quiet", ROOT, folder, cwd=folder.parent)
    on_purpose(folder / "tests")
    return folder


@pytest.fixture(scope="module")
def installed(clone, tmp_path_factory):
    """A runner's folder in which the action has installed loramerge, and what that step printed."""
    temp = tmp_path_factory.mktemp("runner")
    job = Job(temp, temp, used=USED, env={"PYTHONPATH": HERE}).run(clone, only=INSTALL)
    assert not job.failed, job.log
    return temp, job.log


@pytest.fixture
def repository(tmp_path, hub):
    """A repository of recipes: `good` publishes to the Hub, and takes one of its LoRAs from there."""
    hub.repository(INK, {"ink.safetensors": (MODELS / "ink.safetensors").read_bytes()})
    folder = tmp_path / "repository"
    (folder / "recipes").mkdir(parents=True)
    shutil.copytree(MODELS / "base", folder / "models" / "base")
    shutil.copy(MODELS / "glow.safetensors", folder / "models")
    recipe(folder, "good")
    return folder


def recipe(folder, name, ink=f"hf://{INK}/ink.safetensors", **more):
    return write_recipe(
        folder / "recipes",
        name=name,
        base="../models/base",
        loras={"ink": ink, "glow": "../models/glow.safetensors"},
        license="mit",
        **{"publish": [{"kind": "hub", "repo": f"tester/{name}"}]} | more,
    )


@pytest.fixture
def job(repository, installed, clone, tmp_path):
    """Runs the action on the repository; it is installed already."""

    def job(event, *, env=None, **inputs):
        temp = tmp_path / "runner"
        temp.mkdir(exist_ok=True)
        if not (temp / "loramerge-venv").exists():
            (temp / "loramerge-venv").symlink_to(installed[0] / "loramerge-venv")
        ref = "refs/pull/1/merge" if event == "pull_request" else "refs/heads/main"
        job = Job(repository, temp, event, ref, {"PYTHONPATH": HERE, **(env or {})}, USED)
        return job.run(clone, skip=INSTALL, **inputs)

    return job


@pytest.mark.long
@needs_git
def test_the_action_installs_its_own_code(installed):
    temp, log = installed
    (code,) = temp.glob("loramerge-venv/lib/python*/site-packages/loramerge")
    assert (code / "cli" / "commands.py").is_file()
    assert re.search(r"^loramerge, version|^loramerge \d", log, re.MULTILINE), log


@pytest.mark.parametrize(
    ("inputs", "installs"),
    [
        ({}, [["--no-deps", "--index-url", "https://download.pytorch.org/whl/cpu", "torch"], ["--", "ACTION"]]),
        ({"device": "cuda"}, [["--", "ACTION"]]),
        ({"device": "cuda", "sign": "key.pem"}, [["--", "ACTION[sign]"]]),
        ({"version": "--index-url=https://example.org"}, [["--", "--index-url=https://example.org"]]),
    ],
)
def test_what_pip_is_told(inputs, installs, tmp_path):
    bin_folder = tmp_path / "loramerge-venv" / "bin"
    bin_folder.mkdir(parents=True)
    for program, code in (("python", 'printf "%s\\t" "$@"; echo'), ("loramerge", ":")):
        (bin_folder / program).write_text(f"#!/bin/sh\n{code}\n")
        (bin_folder / program).chmod(0o755)
    used = {"actions/setup-python": {"python-path": str(bin_folder / "python")}}
    done = Job(tmp_path, tmp_path, used=used).run(ROOT, only=INSTALL, **inputs).steps[INSTALL]
    _, *calls = (line.strip().split("\t") for line in done.output.splitlines())
    told = [call[call.index("--disable-pip-version-check") + 1 :] for call in calls]
    constraints = [] if "version" in inputs else ["--constraint", f"{ROOT}/constraints.txt"]
    assert told == [[*constraints, *(word.replace("ACTION", str(ROOT)) for word in each)] for each in installs]


@pytest.mark.long
@needs_git
def test_a_pull_request_is_planned(job, hub):
    done = job("pull_request", hf_token=OWNER)
    assert not done.failed, done.log
    assert done.steps["Run"].outcome == "skipped"
    assert "### loramerge: Plan\n\n| recipe | " in done.summary
    assert re.search(r"^\| good \| .* \| new \|$", done.summary, re.MULTILINE)
    assert "hf://tester/good" in done.summary
    assert done.outputs["changes"] == "true"
    (planned,) = json.loads(Path(done.outputs["plan"]).read_text())
    assert (planned["name"], planned["pending"]) == ("good", True)
    assert ("model", "tester/good") not in hub.store.repositories
    assert {call.token for call in hub.log} == {""}


@pytest.mark.long
@needs_git
def test_main_publishes_once(job, hub, repository):
    assert invoke("lock", repository / "recipes").exit_code == 0
    first = job("push", hf_token=OWNER)
    assert not first.failed, first.log
    assert first.outputs["changes"] == "true"
    plan, after = first.summary.split("### loramerge: After the run")
    assert "| build | new |" in plan
    assert "up to date" in after
    assert "| new" not in after
    head = hub.store.repositories["model", "tester/good"].head
    # The next runner begins with nothing but the checkout.
    shutil.rmtree(repository / "dist")
    second = job("push", hf_token=OWNER)
    assert not second.failed, second.log
    assert second.outputs["changes"] == "false", second.summary
    assert hub.store.repositories["model", "tester/good"].head == head
    assert not (repository / "dist").exists()


@pytest.mark.long
@needs_git
def test_what_fails_does_not_keep_the_rest_from_being_published(job, hub, repository):
    recipe(repository, "astray", "hf://org/nowhere/ink.safetensors")
    done = job("push", hf_token=OWNER, locked="false")
    assert done.failed == ["Run"]
    assert done.steps["Check locks"].outcome == "skipped"
    assert ("model", "tester/good") in hub.store.repositories
    assert "org/nowhere" in done.steps["Run"].output
    assert re.search(r"^\| astray \| .*error", done.summary.split("After the run")[1], re.MULTILINE)


@pytest.mark.long
@needs_git
def test_an_error_in_the_plan_fails_a_pull_request(job, repository):
    recipe(repository, "astray", "hf://org/nowhere/ink.safetensors")
    done = job("pull_request")
    assert done.failed == ["Plan"]
    assert re.search(r"^\| good \| ", done.summary, re.MULTILINE)
    assert re.search(r"^\| astray \| .*error", done.summary, re.MULTILINE)
    assert done.outputs["changes"] == "true"


@pytest.mark.long
@needs_git
def test_a_source_that_moved_fails_a_pull_request(job, hub, repository):
    assert invoke("lock", repository / "recipes").exit_code == 0
    hub.store.write(hub.store.repositories["model", INK], {"ink.safetensors": b"other"})
    done = job("pull_request")
    assert done.failed == ["Check locks"]
    assert "recipes/good.lock.yaml: loras.ink: commit moved from" in done.steps["Check locks"].output
    assert "| good |" in done.summary


@pytest.mark.long
@needs_git
def test_an_invalid_recipe_stops_it_all(job, hub, repository):
    recipe(repository, "bad", colour="red")
    done = job("push", hf_token=OWNER)
    assert done.failed == ["Validate"]
    assert re.search(r"error: recipes/bad\.yaml:\d+:1: colour: unknown key", done.log)
    assert done.steps["Run"].outcome == "skipped"
    assert not any(name.startswith("tester/") for _, name in hub.store.repositories)


@pytest.mark.long
@needs_git
def test_a_trusted_publisher_needs_no_secret(job, hub, repository):
    hub.repository("tester/good").trusted = True
    identity = {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{hub.url}/ci/identity",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": REQUEST_TOKEN,
    }
    done = job("push", env=identity, hf_oidc="tester/good", locked="false")
    assert not done.failed, done.log
    assert "peft" in done.log or "diffusers" in done.log
    wrote = {call.token for call in hub.log if call.method == "POST" and "/api/models/tester/good" in call.path}
    assert wrote == {EXCHANGED}
    assert EXCHANGED not in done.log + done.summary


@pytest.mark.parametrize(
    ("command", "event", "ref", "decided"),
    [
        ("auto", "pull_request", "refs/pull/1/merge", "plan"),
        ("auto", "pull_request_target", "refs/heads/main", "plan"),
        ("auto", "merge_group", "refs/heads/gh-readonly-queue/main/pr-1", "plan"),
        ("auto", "push", "refs/heads/main", "run"),
        ("auto", "push", "refs/heads/other", "plan"),
        ("auto", "push", "refs/tags/main", "plan"),
        ("auto", "workflow_dispatch", "refs/heads/main", "run"),
        ("auto", "workflow_dispatch", "refs/heads/other", "plan"),
        ("auto", "schedule", "refs/heads/main", "run"),
        ("plan", "push", "refs/heads/main", "plan"),
        ("run", "pull_request", "refs/pull/1/merge", "run"),
    ],
)
def test_what_the_event_decides(command, event, ref, decided, tmp_path):
    done = Job(tmp_path, tmp_path, event, ref).run(ROOT, only=DECIDE, command=command).steps[DECIDE]
    assert (done.outcome, done.outputs) == ("success", {"command": decided}), done.output


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"command": "apply"}, "command is 'apply'; expected auto, plan or run"),
        ({"command": "$(touch owned)`touch owned`"}, "command is '$(touch owned)`touch owned`'; expected"),
        ({"locked": "yes"}, "locked is 'yes'; expected true or false"),
    ],
)
def test_an_input_that_is_wrong(inputs, said, tmp_path):
    done = Job(tmp_path, tmp_path).run(ROOT, only=DECIDE, **inputs).steps[DECIDE]
    assert done.outcome == "failure"
    assert done.output.startswith(f"::error title=loramerge::{said}")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("recipes", "paths"),
    [
        ("recipes", ["recipes"]),
        ("a b.yaml\n  more \n\n", ["a b.yaml", "more"]),
        ("$(touch owned);touch owned\n*", ["$(touch owned);touch owned", "*"]),
        ("--json", ["--json"]),
    ],
)
def test_recipes_are_paths_and_nothing_else(recipes, paths, tmp_path):
    program = tmp_path / "loramerge-venv" / "bin" / "loramerge"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    done = Job(tmp_path, tmp_path).run(ROOT, only="Validate", recipes=recipes).steps["Validate"]
    assert done.output.splitlines() == ["validate", "--", *paths]
    assert not (tmp_path / "owned").exists()


def test_no_recipes_at_all(tmp_path):
    done = Job(tmp_path, tmp_path).run(ROOT, only="Validate", recipes=" \n").steps["Validate"]
    assert (done.outcome, done.output) == ("failure", "::error title=loramerge::recipes names no path\n")


# The hooks


@pytest.fixture
def hooked(git, repository):
    """The repository of recipes, in git, with a lock; returns it and a function that adds what is there."""
    git("init", "--quiet", cwd=repository)
    assert invoke("lock", repository / "recipes").exit_code == 0
    git("add", "--all", cwd=repository)
    return repository


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """pre-commit's cache: an environment in which it has installed hooks is made once."""
    return tmp_path_factory.mktemp("pre-commit")


@pytest.fixture
def pre_commit(git, hooked, clone, kept):
    """Runs pre-commit in the repository, which takes the hooks from the clone; `language` overrides theirs."""
    head = subprocess.run(["git", "-C", clone, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout

    def pre_commit(*arguments, code=HERE, **overrides):
        hooks = [{"id": each["id"], **overrides} for each in loaded(HOOKS)]
        config = {"repos": [{"repo": str(clone), "rev": head.strip(), "hooks": hooks}]}
        (hooked / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
        git("add", "--all", cwd=hooked)
        env = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PRE_COMMIT"))}
        own = {"PRE_COMMIT_HOME": str(kept), "PRE_COMMIT_COLOR": "never", "PYTHONPATH": str(code)}
        own["VIRTUALENV_NO_PERIODIC_UPDATE"] = "1"  # it would ask the package registry, behind the test's back
        path = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
        done = subprocess.run(
            [sys.executable, "-m", "pre_commit", "run", *arguments],
            cwd=hooked,
            env={**env, **git.env, **own, "PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        for tests in kept.glob("repo*/tests"):
            on_purpose(tests)
        return done

    return pre_commit


def outcomes(done):
    """Hook → Passed, Failed or Skipped."""
    return dict(re.findall(r"^(loramerge [a-z -]*[a-z])\.+(?:\(.*\))?(\w+)$", done.stdout, re.MULTILINE))


@pytest.mark.long
@needs_git
def test_the_hooks_of_a_clean_clone_pass(pre_commit):
    done = pre_commit("--all-files", "--verbose")
    assert done.returncode == 0, done.stdout
    assert outcomes(done) == {"loramerge validate": "Passed", "loramerge lock --check": "Passed"}
    assert "recipes/good.yaml: ok\n" in done.stdout
    assert "recipes/good.lock.yaml: unchanged\n" in done.stdout


@pytest.mark.long
@needs_git
def test_the_hooks_of_a_clean_clone_fail(pre_commit, hooked, hub):
    recipe(hooked, "bad", colour="red")
    hub.store.write(hub.store.repositories["model", INK], {"ink.safetensors": b"other"})
    done = pre_commit("--all-files")
    assert done.returncode == 1
    assert outcomes(done) == {"loramerge validate": "Failed", "loramerge lock --check": "Failed"}
    assert re.search(r"^error: recipes/bad\.yaml:\d+:1: colour: unknown key", done.stdout, re.MULTILINE)
    assert re.search(r"^error: recipes/good\.lock\.yaml: loras\.ink: commit moved from", done.stdout, re.MULTILINE)
    assert re.search(r"^hint: `loramerge lock recipes/good\.yaml` writes it$", done.stdout, re.MULTILINE)


@pytest.mark.long
@needs_git
def test_what_the_hooks_look_at(pre_commit, hooked):
    """Run by the loramerge that is installed, as `language: system` has it."""
    recipe(hooked, "unlocked")
    (hooked / "recipes" / "models").mkdir()
    for name in ("compose.yaml", "recipes/models/scheduler.yaml", "recipes/astray.lock.yaml"):
        (hooked / name).write_text("{}\n")

    def looked_at(*changed):
        done = pre_commit("--files", *changed, code=ROOT, language="system")
        found = outcomes(done)
        assert done.returncode == ("Failed" in found.values()), done.stdout
        return found["loramerge validate"], found["loramerge lock --check"]

    assert looked_at("recipes/good.yaml", "recipes/good.lock.yaml", "recipes/unlocked.yaml") == ("Passed", "Passed")
    assert looked_at("recipes/good.lock.yaml") == ("Skipped", "Passed")
    assert looked_at("recipes/astray.lock.yaml") == ("Skipped", "Failed")  # its recipe is gone
    assert looked_at("recipes/models/scheduler.yaml", "compose.yaml") == ("Skipped", "Skipped")


# What the documentation says of them


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The workflows of the page, as files; a part that shows jobs alone has its beginning added."""
    workflow, *jobs, _ = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(jobs) == 3
    folder = tmp_path_factory.mktemp("workflows")
    paths = []
    for text in (workflow, *(f"on: push\n{each}" for each in jobs)):
        paths.append(folder / f"{len(paths)}.yml")
        paths[-1].write_text(text, encoding="utf-8")
    return paths


def test_the_workflows_of_the_documentation_are_valid(written):
    test_files_are_valid_by_their_schema("vendor.github-workflows", written)
    has_nothing_to_say("actionlint", ["-no-color", *written])


def test_the_workflow_of_the_documentation_takes_this_action(written):
    (job,) = loaded(written[0])["jobs"].values()
    step = job["steps"][-1]
    assert step["uses"].partition("@")[0].endswith("/loramerge")
    assert step["with"].keys() <= loaded(ACTION)["inputs"].keys()


def test_the_hooks_of_the_documentation_are_these():
    *_, config = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (repository,) = yaml.safe_load(config)["repos"]
    assert [each["id"] for each in repository["hooks"]] == [each["id"] for each in loaded(HOOKS)]


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("jq"), reason="jq is on GitHub's runners; the documentation's job asks it")
def test_the_matrix_of_the_documentation_is_what_the_plan_says(written, tmp_path):
    """Its shell, as the runner runs it: a job for each recipe that is pending, and the run of one of them."""
    jobs = loaded(written[-1])["jobs"]
    (listing,), (running,) = scripts({"jobs": {"plan": jobs["plan"]}}), scripts({"jobs": {"run": jobs["run"]}})
    shutil.copytree(MODELS / "base", tmp_path / "models" / "base")
    for name in ("ink", "glow"):
        shutil.copy(MODELS / f"{name}.safetensors", tmp_path / "models")
    given = {
        "base": "../models/base",
        "loras": {"ink": "../models/ink.safetensors", "glow": "../models/glow.safetensors"},
    }
    folder = tmp_path / "recipes"
    folder.mkdir()
    write_recipe(folder, name="one", **given)
    write_recipe(folder, name="many", matrix={"loras.ink.weight": [0.5]}, **given)

    def shell(script, **environment):
        (tmp_path / "output").write_text("")
        own = {"GITHUB_OUTPUT": str(tmp_path / "output"), **environment}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-c", script],
            cwd=tmp_path, env={**os.environ, **own, "PATH": path}, check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return dict(line.split("=", 1) for line in (tmp_path / "output").read_text().splitlines())

    pending = json.loads(shell(listing)["recipes"])
    assert pending == ["recipes/many.yaml#many-0.5", "recipes/one.yaml"]
    for recipe_of_job in pending:
        shell(running, RECIPE=recipe_of_job)
    assert shell(listing)["recipes"] == "[]"  # what `if:` compares with
    assert jobs["run"]["if"] == "needs.plan.outputs.recipes != '[]'"
