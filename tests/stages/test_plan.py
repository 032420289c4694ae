"""What a run would do, and why: recipe and lock, the last artifact, and what is live, compared."""

import json
from pathlib import Path

import foreign
import pytest
import tiny
from canonical import files_of
from command_line import write_recipe
from hub.example import OWNER, STRANGER
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download

from loramerge import lock_sources, plan, publish, read_recipe, run
from loramerge.errors import LoramergeError, MismatchError, PublishError, SourceError
from loramerge.hub.repository import Content, Repository
from loramerge.provenance import definition
from loramerge.provenance.definition import Definition
from loramerge.targets.record import Record

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")]
FOLDER = {"kind": "folder", "path": "models"}
HUB = {"kind": "hub", "repo": "tester/merged"}


def lora(folder, seed, name):
    pairs = foreign.random_lora(tiny.shared("sd15"), seed=seed, rank=2, alpha=2.0, few=True)
    return foreign.write_diffusers(pairs, folder / name)


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """Writes and reads a small recipe; what is given changes it."""
    monkeypatch.chdir(tmp_path)
    lora(tmp_path, 0, "ink.safetensors")
    lora(tmp_path, 1, "glow.safetensors")

    def read(**changed):
        loras = {"ink": {"source": "ink.safetensors", "weight": 0.5}, "glow": "glow.safetensors"}
        return read_recipe(
            write_recipe(tmp_path, base=tiny.folder("sd15"), **({"loras": loras, "license": "mit"} | changed))
        )

    return read


def steps(planned):
    """Action and reasons of every step."""
    return [(step.action, [str(reason) for reason in step.reasons]) for step in planned.steps]


def kinds(planned):
    return [(step.action, {reason.kind for reason in step.reasons}) for step in planned.steps]


NOTHING = ("none", ["up to date"])
UNNEEDED = ("none", ["not needed: every target is up to date"])


def test_what_was_never_built_is_new(recipe, tmp_path):
    planned = plan(recipe())
    assert steps(planned) == [("build", ["new"])]
    assert planned.pending
    assert planned.artifact.place == str(tmp_path / "dist" / "small")
    assert not (tmp_path / "dist").exists()


def test_what_was_built_is_up_to_date(recipe):
    run(recipe())
    planned = plan(recipe())
    assert steps(planned) == [NOTHING]
    assert not planned.pending


def test_the_changed_key_is_named(recipe):
    run(recipe())
    loras = {"ink": {"source": "ink.safetensors", "weight": 0.75}, "glow": "glow.safetensors"}
    assert steps(plan(recipe(loras=loras))) == [("build", ["recipe changed: loras.ink.weight from 0.5 to 0.75"])]
    (step,) = steps(plan(recipe(merge={"combination_type": "svd", "svd_rank": 2})))
    assert "recipe changed: merge.combination_type from cat to svd" in step[1]
    assert "recipe changed: merge.svd_rank added: 2" in step[1]


def test_a_lora_more_or_less_is_named_once(recipe, tmp_path):
    run(recipe())
    lora(tmp_path, 2, "third.safetensors")
    loras = {"ink": {"source": "ink.safetensors", "weight": 0.5}, "third": "third.safetensors"}
    reasons = [str(each) for each in plan(recipe(loras=loras)).artifact.reasons]
    assert "recipe changed: loras.third.source added: third.safetensors" in reasons
    assert "recipe changed: loras.glow.source removed: it was glow.safetensors" in reasons
    assert not [each for each in reasons if each.startswith("lock moved")]


def test_a_comment_is_a_change_as_the_artifact_holds_the_recipe(recipe):
    path = recipe().path
    run(read_recipe(path))
    path.write_text(path.read_text() + "# a word\n")
    assert steps(plan(read_recipe(path))) == [("build", ["recipe changed: its comments, its layout or its search"])]


def test_a_source_that_moved(recipe, tmp_path):
    run(recipe())
    lora(tmp_path, 9, "ink.safetensors")
    ((action, reasons),) = steps(plan(recipe()))
    assert action == "build"
    assert reasons[0].startswith("lock moved: loras.ink: ink.safetensors changed from ")


def test_the_lock_counts_not_what_the_sources_are_now(recipe, tmp_path):
    lock = lock_sources(recipe())
    run(recipe(), lock=lock)
    lora(tmp_path, 9, "ink.safetensors")
    assert steps(plan(recipe(), lock=lock)) == [NOTHING]
    assert steps(plan(recipe(), lock=lock_sources(recipe())))[0][0] == "build"


def test_a_lock_of_another_recipe(recipe):
    lock = lock_sources(recipe())
    with pytest.raises(SourceError, match="the lock does not fit the recipe small"):
        plan(recipe(loras={"ink": "ink.safetensors"}), lock=lock)


def test_an_artifact_changed_by_hand(recipe):
    report = run(recipe()).artifact / "report.json"
    report.write_text(report.read_text() + " ")
    for command in (plan, run):
        with pytest.raises(LoramergeError, match=r"changed since they were made: report\.json"):
            command(recipe())
    assert report.read_text().endswith(" ")
    ((action, (reason,)),) = steps(plan(recipe(), force=True))
    assert action == "build"
    assert reason.startswith("drifted: report.json was changed")
    run(recipe(), force=True)
    assert not report.read_text().endswith(" ")


def test_an_artifact_that_lost_its_papers(recipe):
    artifact = run(recipe()).artifact
    (artifact / "recipe.yaml").unlink()
    ((action, (reason,)),) = steps(plan(recipe()))
    assert action == "build"
    assert reason.startswith("drifted: ")


def test_a_folder_of_somebody_else_is_refused(recipe, tmp_path):
    (tmp_path / "dist/small").mkdir(parents=True)
    (tmp_path / "dist/small/precious").write_text("mine")
    with pytest.raises(LoramergeError, match="is no artifact of loramerge"):
        plan(recipe())


# --- targets, without and with the artifact at hand


@pytest.fixture(params=["folder", "hub"])
def target(request, hub, monkeypatch):
    """A target, and how somebody changes a file there by hand."""
    monkeypatch.setenv("HF_TOKEN", OWNER)
    name = "pytorch_lora_weights.safetensors"
    if request.param == "folder":
        return FOLDER, lambda: (Path("models") / name).write_bytes(b"by hand")
    return HUB, lambda: hub.store.write(hub.store.repositories["model", "tester/merged"], {name: b"by hand"})


def test_the_way_of_a_target(recipe, target):
    settings, edit = target
    assert kinds(plan(recipe(publish=[settings]))) == [("build", {"new"}), ("publish", {"new"})]
    run(recipe(publish=[settings]))
    assert steps(plan(recipe(publish=[settings]))) == [UNNEEDED, NOTHING]
    edit()
    planned = plan(recipe(publish=[settings]), force=True)
    assert steps(planned) == [NOTHING, ("publish", ["drifted: pytorch_lora_weights.safetensors was changed"])]
    publish(Path(planned.artifact.place), planned.recipe, targets=planned.publishes_to, force=True)
    assert not plan(recipe(publish=[settings])).pending
    changed = recipe(publish=[settings], merge={"combination_type": "linear", "engine": "factored"})
    reasons = ["recipe changed: merge.combination_type from cat to linear"]
    assert steps(plan(changed)) == [("build", reasons), ("publish", reasons)]


def test_the_artifact_is_needed_again_only_where_a_target_is(recipe, target, tmp_path):
    settings, edit = target
    (tmp_path / "dist/small").mkdir(parents=True)
    run(recipe(publish=[settings]))
    (tmp_path / "dist").rename(tmp_path / "gone")
    assert steps(plan(recipe(publish=[settings]))) == [UNNEEDED, NOTHING]
    assert steps(plan(recipe(publish=[settings]), out="elsewhere")) == [("build", ["new"]), NOTHING]
    assert steps(plan(recipe(publish=[settings]), publishing=False)) == [("build", ["new"])]
    edit()
    assert [action for action, _ in steps(plan(recipe(publish=[settings]), force=True))] == ["build", "publish"]


def test_what_run_would_refuse_plan_refuses(recipe):
    run(recipe(publish=[FOLDER]))
    (Path("models") / "pytorch_lora_weights.safetensors").write_bytes(b"by hand")
    planned = plan(recipe(publish=[FOLDER]))
    assert kinds(planned)[1] == ("refuse", {"drifted", "refused"})
    with pytest.raises(PublishError, match=r"models: refused: it holds pytorch_lora_weights.safetensors, .* --force"):
        planned.refuse()
    with pytest.raises(PublishError, match="which was changed since"):
        run(recipe(publish=[FOLDER]))


def test_a_file_of_others_that_was_published_there_by_chance_is_watched(recipe):
    small = recipe(publish=[FOLDER | {"outputs": ["diffusers"]}])
    name = "pytorch_lora_weights.safetensors"
    artifact = run(small, targets=()).artifact
    Path("models").mkdir()
    (Path("models") / name).write_bytes((artifact / "diffusers" / name).read_bytes())
    run(small)
    assert not plan(small).pending
    (Path("models") / name).write_bytes(b"other")
    assert kinds(plan(small))[1] == ("refuse", {"drifted", "refused"})
    (Path("models") / name).unlink()
    assert steps(plan(small))[1] == ("publish", [f"drifted: {name} is missing"])
    run(small, targets=plan(small).publishes_to)
    assert not plan(small).pending


@pytest.mark.parametrize("spelling", ["absolute", "home", "link", "above"])
def test_one_folder_by_two_spellings(recipe, tmp_path, monkeypatch, spelling):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link").symlink_to(tmp_path / "models")
    paths = {
        "absolute": f"{tmp_path.parent}/./{tmp_path.name}/models",
        "home": "~/models",
        "link": "link",
        "above": f"../{tmp_path.name}/models",
    }
    outputs = [{"kind": "adapter", "format": each} for each in ("diffusers", "kohya")]
    twice = recipe(
        outputs=outputs,
        publish=[FOLDER | {"outputs": ["diffusers"]}, FOLDER | {"path": paths[spelling], "outputs": ["kohya"]}],
    )
    with pytest.raises(PublishError, match=r"targets 0 and 1 are one folder, .*/models, spelt 'models' and") as error:
        plan(twice)
    assert error.value.hint == "name both outputs in one target"
    assert plan(twice, publishing=False).pending
    artifact = run(twice, targets=()).artifact
    with pytest.raises(PublishError, match="targets 0 and 1 are one folder"):
        publish(artifact, twice)
    assert not (tmp_path / "models").exists()


def test_a_target_inside_the_artifact(recipe):
    nested = recipe(publish=[{"kind": "folder", "path": "dist/small/models"}])
    with pytest.raises(PublishError, match=r"target 0 publishes to .*/dist/small/models, inside the artifact"):
        plan(nested)
    artifact = run(nested, targets=()).artifact
    with pytest.raises(PublishError, match="inside the artifact"):
        publish(artifact, nested)
    assert plan(nested, out="elsewhere").pending


@pytest.mark.parametrize("path", ["~nosuchuser/x", "a\0b"])
def test_a_target_that_can_be_no_folder(recipe, path):
    with pytest.raises(PublishError) as error:
        plan(recipe(publish=[{"kind": "folder", "path": path}]))
    assert error.value.hint == "correct `path` in the recipe"


def test_a_file_in_the_artifact_s_place(recipe):
    Path("dist").mkdir()
    Path("dist/small").write_text("a file")
    with pytest.raises(LoramergeError, match="is a file"):
        plan(recipe())
    assert steps(plan(recipe(), force=True)) == [("build", ["new"])]
    assert (run(recipe(), force=True).artifact / "report.json").exists()


def test_a_missing_file_is_named(recipe):
    run(recipe(publish=[FOLDER]))
    (Path("models") / "pytorch_lora_weights.safetensors").unlink()
    assert steps(plan(recipe(publish=[FOLDER])))[1] == (
        "publish",
        ["drifted: pytorch_lora_weights.safetensors is missing"],
    )


def test_a_record_without_a_definition(recipe):
    run(recipe(publish=[FOLDER]))
    record = Path("models/.loramerge/small.json")
    record.write_text(json.dumps({"recipe": "small", "files": json.loads(record.read_text())["files"]}))
    assert kinds(plan(recipe(publish=[FOLDER])))[1] == ("publish", {"recipe changed"})
    run(recipe(publish=[FOLDER]))
    assert not plan(recipe(publish=[FOLDER])).pending


def test_one_target_of_two(recipe):
    other = {"kind": "folder", "path": "other"}
    run(recipe(publish=[FOLDER, other]))
    (Path("other") / "pytorch_lora_weights.safetensors").unlink()
    planned = plan(recipe(publish=[FOLDER, other]))
    assert [step.action for step in planned.targets] == ["none", "publish"]
    assert [target.path for target in planned.publishes_to] == ["other"]


def test_planning_writes_nothing_and_needs_no_token(recipe, hub, monkeypatch, tmp_path):
    hub.repository(
        "org/base", {name: (tiny.folder("sd15") / name).read_bytes() for name in files_of(tiny.folder("sd15"))}
    )
    hub.repository("org/ink", {"ink.safetensors": (tmp_path / "ink.safetensors").read_bytes()})
    monkeypatch.setenv("HF_TOKEN", OWNER)
    settings = {
        "base": "hf://org/base", "loras": {"ink": "hf://org/ink"}, "publish": [HUB],
        "outputs": [{"kind": "pipeline"}, {"kind": "adapter", "format": "diffusers"}],
    }  # fmt: skip

    def read():
        return read_recipe(write_recipe(tmp_path, license="mit", **settings))

    run(read())
    monkeypatch.delenv("HF_TOKEN")
    hub.log.clear()
    assert not plan(read()).pending
    assert {call.method for call in hub.log} <= {"GET", "HEAD"}
    fetched = [call.path for call in hub.log if "/resolve/" in call.path]
    assert not [each for each in fetched if each.endswith(".safetensors")]


def test_a_private_repository_nobody_logged_in(recipe, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", OWNER)
    run(recipe(publish=[HUB | {"private": True}]))
    assert not plan(recipe(publish=[HUB | {"private": True}])).pending
    monkeypatch.delenv("HF_TOKEN")
    step = plan(recipe(publish=[HUB | {"private": True}])).targets[0]
    assert (step.action, str(step.reasons[0])) == (
        "publish",
        "new: it does not exist, or is private and no token may read it",
    )


def test_a_tag(recipe, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", OWNER)
    run(recipe(publish=[HUB]))
    tagged = HUB | {"tag": "v1"}
    # the tag is part of the recipe, and the artifact holds the recipe
    assert kinds(plan(recipe(publish=[tagged])))[1] == ("publish", {"recipe changed", "tag missing"})
    run(recipe(publish=[tagged]))
    assert not plan(recipe(publish=[tagged])).pending
    other = recipe(publish=[tagged], merge={"combination_type": "linear"})
    planned = plan(other)
    assert kinds(planned)[1] == ("refuse", {"recipe changed", "tag taken"})
    with pytest.raises(PublishError, match="tag taken: v1 names another state"):
        planned.refuse()
    assert plan(other, force=True).targets[0].action == "publish"
    run(other, force=True)
    assert not plan(other).pending
    hub.store.repositories["model", "tester/merged"].refs.pop("refs/tags/v1")
    assert steps(plan(other))[1] == ("publish", ["tag missing: v1"])


def test_a_pull_request_that_is_open(recipe, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", OWNER)
    hub.repository("tester/merged", {})
    proposing = recipe(publish=[HUB | {"create_pr": True}])
    assert kinds(plan(proposing))[1] == ("publish", {"new"})
    run(proposing)
    action, (reason,) = steps(plan(proposing))[1]
    assert action == "none"
    assert reason.startswith("up to date: proposed in http")


@pytest.fixture
def live(hub, monkeypatch):
    """The repository on the Hub, as somebody who may write there sees it."""
    monkeypatch.setenv("HF_TOKEN", OWNER)
    return lambda: hub.store.repositories["model", "tester/merged"]


def carry_out(recipe, **options):
    """What `loramerge run` does, and then a plan."""
    planned = plan(recipe, **options)
    planned.refuse()
    run(recipe, targets=planned.publishes_to, **options)
    return plan(recipe, **options)


def files_at(repository, revision):
    return set(repository.resolve(revision).files)


def test_a_branch_that_began_at_main_holds_the_outputs_of_main(recipe, live, monkeypatch):
    outputs = [{"kind": "adapter", "format": "diffusers"}, {"kind": "adapter", "format": "kohya"}]
    other = HUB | {"revision": "kohya", "outputs": ["kohya"]}
    both = recipe(outputs=outputs, publish=[HUB | {"outputs": ["diffusers"]}, other])
    run(both, targets=both.publish[:1])
    Repository("tester/merged", "kohya").create_branch()  # and the run was killed
    assert steps(plan(both))[1:] == [
        NOTHING,
        ("publish", ["drifted: holds the outputs diffusers, not kohya"]),
    ]
    assert not carry_out(both).pending
    assert "small.safetensors" in files_at(live(), "kohya")
    assert "pytorch_lora_weights.safetensors" not in files_at(live(), "kohya")


def test_a_tag_stays_where_the_branch_is_healed(recipe, hub, live, monkeypatch):
    tagging = recipe(publish=[HUB | {"tag": "v1"}])
    run(tagging)
    tagged = live().refs["refs/tags/v1"]
    hub.store.write(live(), {"README.md": b"by hand"})
    monkeypatch.setattr("loramerge.reports.report.environment", lambda _: {"python": "another"})
    monkeypatch.setattr("loramerge.provenance.provenance.environment", lambda _: {"python": "another"})
    assert not carry_out(tagging, force=False).pending
    assert live().resolve("main").files["provenance.json"] != live().resolve("v1").files["provenance.json"]
    assert live().refs["refs/tags/v1"] == tagged


def test_a_tag_whose_files_were_changed_is_taken(recipe, hub, live):
    tagging = recipe(publish=[HUB | {"tag": "v1"}])
    run(tagging)
    good = live().head
    live().refs["refs/tags/v1"] = hub.store.write(live(), {"pytorch_lora_weights.safetensors": b"by hand"})
    live().refs["refs/heads/main"] = good
    action, (reason,) = steps(plan(tagging))[1]
    assert action == "refuse"
    assert "v1 names another state (drifted: pytorch_lora_weights.safetensors was changed)" in reason
    with pytest.raises(PublishError, match="has a tag v1"):
        run(tagging)
    assert not carry_out(tagging, force=True).pending
    assert live().refs["refs/tags/v1"] == good


def test_a_tag_without_the_signature_is_taken(recipe, live):
    tagging = recipe(publish=[HUB | {"tag": "v1"}])
    run(tagging)
    action, reasons = steps(plan(tagging, signing=True))[1]
    assert action == "refuse"
    assert "v1 names another state (not signed)" in reasons[-1]


def test_a_branch_that_is_gone_while_its_tag_is_right(recipe, live):
    tagging = recipe(publish=[HUB | {"tag": "v1", "revision": "dev"}])
    tagged = run(tagging).receipts[0].commit
    live().refs.pop("refs/heads/dev")
    assert kinds(plan(tagging))[1] == ("publish", {"new"})
    assert not carry_out(tagging).pending
    assert live().refs["refs/tags/v1"] == tagged


def propose(recipe, files, *, token=OWNER):
    """A pull request by hand with a record that fits the recipe."""
    definition = Definition.of(recipe, lock_sources(recipe)).data()
    contents = {name: Content.of(data) for name, data in files.items()}
    digests = {name: content.sha256 for name, content in contents.items()}
    blobs = {name: content.blob for name, content in contents.items()}
    record = Record("small", digests, definition, ("diffusers",), blobs).text()
    operations = [
        CommitOperationAdd(name, data) for name, data in {".loramerge/small.json": record.encode(), **files}.items()
    ]
    HfApi(token=token).create_commit("tester/merged", operations, commit_message="Publish small", create_pr=True)


def test_a_pull_request_of_a_stranger_is_not_ours(recipe, hub, live):
    hub.repository("tester/merged", {})
    proposing = recipe(publish=[HUB | {"create_pr": True}])
    propose(proposing, {"recipe.yaml": b"theirs", "config.json": b"{}"}, token=STRANGER)
    assert steps(plan(proposing))[1] == ("publish", ["new"])
    assert not carry_out(proposing).pending
    assert live().pull_requests == ["stranger", "tester"]


def test_a_pull_request_of_whoever_publishes_counts(recipe, hub, monkeypatch):
    hub.repository("tester/merged", {})
    proposing = recipe(publish=[HUB | {"create_pr": True}])
    propose(proposing, {"recipe.yaml": b"ours", "config.json": b"{}"}, token=STRANGER)
    monkeypatch.setenv("HF_TOKEN", STRANGER)
    assert kinds(plan(proposing))[1] == ("none", {"up to date"})
    monkeypatch.delenv("HF_TOKEN")
    assert kinds(plan(proposing))[1] == ("publish", {"new"})


def test_a_pull_request_without_the_files(recipe, hub, live):
    hub.repository("tester/merged", {})
    proposing = recipe(publish=[HUB | {"create_pr": True}])
    propose(proposing, {"recipe.yaml": b"no weights"})
    assert kinds(plan(proposing))[1] == ("publish", {"new"})


def test_a_pull_request_that_somebody_changed_or_nobody_signed(recipe, hub, live):
    hub.repository("tester/merged", {})
    proposing = recipe(publish=[HUB | {"create_pr": True}])
    run(proposing)
    assert kinds(plan(proposing, signing=True))[1] == ("publish", {"new"})
    live().refs["refs/heads/spoilt"] = live().refs["refs/pr/1"]
    live().refs["refs/pr/1"] = hub.store.write(live(), {"README.md": b"by hand"}, branch="spoilt")
    assert kinds(plan(proposing))[1] == ("publish", {"new"})


def test_files_of_others_are_refused_before_anything_is_built(recipe, hub, live):
    hub.repository("tester/merged", {"README.md": b"# Theirs"})
    publishing = recipe(publish=[HUB])
    assert kinds(plan(publishing))[1] == ("refuse", {"new", "refused"})
    assert "README.md, which this recipe did not put there" in str(plan(publishing).targets[0].reasons[-1])
    assert kinds(plan(publishing, force=True))[1] == ("publish", {"new"})
    hub.repository("tester/merged", {"README.md": b"---\nlicense: mit\n---\n"})  # as the Hub makes it
    assert not carry_out(publishing).pending


def test_two_recipes_do_not_take_a_repository_from_each_other(recipe, live):
    first, second = recipe(name="one", publish=[HUB]), recipe(name="two", publish=[HUB])
    run(first)
    assert kinds(plan(second))[1] == ("refuse", {"new", "refused"})
    assert not carry_out(second, force=True).pending
    assert kinds(plan(first))[1] == ("refuse", {"drifted", "refused"})
    with pytest.raises(PublishError, match="which this recipe did not put there"):
        run(first)
    assert not plan(second).pending


def test_a_record_that_was_lost_is_written_anew(recipe, hub, live):
    publishing = recipe(publish=[HUB])
    run(publishing)
    hub.store.write(live(), {".loramerge/small.json": None})
    assert kinds(plan(publishing))[1] == ("publish", {"new"})
    assert not carry_out(publishing).pending


def test_a_public_repository_that_shall_be_private(recipe, hub, live):
    publishing = recipe(publish=[HUB | {"private": True}])
    run(publishing)
    live().private = False
    assert steps(plan(publishing))[1] == (
        "refuse",
        ["drifted: everybody may read it", "refused: it is public, and the recipe says `private: true`"],
    )
    with pytest.raises(PublishError, match="is public"):
        run(publishing)


def test_a_pull_request_to_a_branch_that_is_not_there(recipe, hub, live):
    proposing = recipe(publish=[HUB | {"create_pr": True, "revision": "dev"}])
    assert kinds(plan(proposing))[1] == ("refuse", {"new", "refused"})
    hub.repository("tester/merged", {})
    assert "there is no branch dev" in str(plan(proposing).targets[0].reasons[-1])
    with pytest.raises(PublishError, match="has no branch dev"):
        run(proposing)


def test_a_licence_that_nobody_tells_offline_is_no_change(recipe, hub, tmp_path, monkeypatch):
    card = {"README.md": b"---\nlicense: mit\n---\n"}
    pinned = hub.repository("org/ink", {"ink.safetensors": (tmp_path / "ink.safetensors").read_bytes()} | card).head
    loras = {"ink": {"source": "hf://org/ink/ink.safetensors", "revision": pinned}, "glow": "glow.safetensors"}
    publishing = recipe(loras=loras, publish=[FOLDER])
    run(publishing)
    with monkeypatch.context() as offline:
        offline.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        assert lock_sources(publishing).sources.loras["ink"].licence is None
        assert not plan(publishing).pending
    hf_hub_download("org/ink", "README.md", revision=pinned)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert lock_sources(publishing).sources.loras["ink"].licence == "mit"


def test_a_hub_that_can_not_be_reached(recipe, hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("loramerge.hub.retry.sleep", lambda _: None)
    with pytest.raises(PublishError, match="can't reach the Hub"):
        plan(recipe(publish=[HUB]))


def test_a_licence_is_asked_for_before_anything_is_built(recipe, hub):
    with pytest.raises(MismatchError, match="which licence"):
        plan(recipe(publish=[HUB], license=None))


def test_an_artifact_built_without_a_licence_is_not_published(recipe, hub):
    unlicensed = recipe(publish=[HUB], license=None)
    artifact = run(unlicensed, targets=()).artifact
    with pytest.raises(MismatchError, match="which licence"):
        publish(artifact, unlicensed)


def test_a_definition_survives_json(recipe):
    known = Definition.of(recipe(), lock_sources(recipe()))
    again = Definition.parse(json.loads(json.dumps(known.data())))
    assert again == known
    assert known.since(again) == ()
    assert Definition.parse({"digest": "x", "recipe": {}, "lock": {}}) is None
    assert Definition.parse(None) is None
    assert definition.Definition.of_artifact(run(recipe()).artifact) == known
