"""The unpatched client can do against the loopback Hub what publishing needs."""

import os
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest

from hub import git
from hub.faults import Status

# huggingface_hub 2.4 uploads large files with an argument that httpx2 calls deprecated
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

OWNER = "hf_loopback_tester"
REPO = "tester/merged"


@pytest.fixture
def api(hub, monkeypatch):
    from huggingface_hub import HfApi

    monkeypatch.setenv("HF_TOKEN", OWNER)
    api = HfApi()
    api.create_repo(REPO)
    return api


def operations(weights=b"\0weights"):
    from huggingface_hub import CommitOperationAdd

    return [
        CommitOperationAdd("adapter_model.safetensors", weights),
        CommitOperationAdd("README.md", b"---\nlicense: apache-2.0\nbase_model: org/base\n---\n# Merged\n"),
        CommitOperationAdd("unet/adapter_config.json", b"{}\n"),
    ]


def test_ids_are_those_of_git(tmp_path):
    files = {"a.txt": b"a\n", "a/b.txt": b"b\n", "a/c/d.txt": b"d\n", "a-b": b"", "z.txt": b"\0"}
    del files["a.txt"]
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def run(*arguments):
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        return subprocess.check_output(["git", *arguments], cwd=tmp_path, text=True, env=environment).strip()

    run("init", "--quiet")
    run("add", ".")
    assert git.tree_id({name: git.object_id("blob", content) for name, content in files.items()}) == run("write-tree")


def test_it_says_who_is_there(api):
    from huggingface_hub.errors import HfHubHTTPError

    assert api.whoami()["name"] == "tester"
    with pytest.raises(HfHubHTTPError):
        api.whoami(token="hf_wrong")


def test_creating_a_repository_twice_needs_exist_ok(api):
    from huggingface_hub.errors import HfHubHTTPError

    assert api.create_repo(REPO, exist_ok=True).repo_id == REPO
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo(REPO)
    assert api.repo_exists(REPO)
    api.delete_repo(REPO)
    assert not api.repo_exists(REPO)


@pytest.mark.parametrize("part_size", [None, 1 << 16])
@pytest.mark.parametrize("redirects", [True, False])
def test_what_is_committed_is_downloaded(hub, api, part_size, redirects):
    hub.store.part_size, hub.store.redirects = part_size, redirects
    weights = os.urandom(200_000)
    head = api.create_commit(REPO, operations(weights), commit_message="publish").oid
    assert sorted(api.list_repo_files(REPO)) == [
        ".gitattributes",
        "README.md",
        "adapter_model.safetensors",
        "unet/adapter_config.json",
    ]
    folder = Path(api.snapshot_download(REPO, revision=head))
    assert (folder / "adapter_model.safetensors").read_bytes() == weights
    assert (folder / "unet/adapter_config.json").read_bytes() == b"{}\n"
    assert api.model_info(REPO).card_data.base_model == "org/base"
    assert api.verify_repo_checksums(REPO, revision=head).checked_count == 4


def test_the_same_content_again_is_no_commit(api):
    first = api.create_commit(REPO, operations(), commit_message="publish").oid
    assert api.create_commit(REPO, operations(), commit_message="again", parent_commit=first).oid == first


def test_a_stale_parent_is_refused(api):
    from huggingface_hub.errors import HfHubHTTPError

    before = api.model_info(REPO).sha
    api.create_commit(REPO, operations(), commit_message="publish", parent_commit=before)
    with pytest.raises(HfHubHTTPError, match="412"):
        api.create_commit(REPO, operations(b"other"), commit_message="late", parent_commit=before)


def test_a_bad_model_card_is_refused_before_the_commit(api):
    from huggingface_hub import CommitOperationAdd

    card = CommitOperationAdd("README.md", b"---\na: [\n---\n")
    with pytest.raises(ValueError, match="Invalid metadata"):
        api.create_commit(REPO, [card], commit_message="publish")


def test_branches_tags_and_history(api):
    from huggingface_hub import CommitOperationDelete
    from huggingface_hub.errors import HfHubHTTPError

    head = api.create_commit(REPO, operations(), commit_message="publish").oid
    api.create_tag(REPO, tag="v1", revision=head)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_tag(REPO, tag="v1")
    api.create_branch(REPO, branch="staging", revision="v1")
    removal = [CommitOperationDelete("README.md"), CommitOperationDelete("unet/")]
    staged = api.create_commit(REPO, removal, commit_message="remove", revision="staging").oid
    refs = api.list_repo_refs(REPO)
    assert {ref.name: ref.target_commit for ref in refs.branches + refs.tags} == {
        "main": head,
        "staging": staged,
        "v1": head,
    }
    assert [commit.title for commit in api.list_repo_commits(REPO, revision="staging")] == [
        "remove",
        "publish",
        "initial commit",
    ]
    assert "README.md" not in api.list_repo_files(REPO, revision="staging")
    api.delete_tag(REPO, tag="v1")
    assert not api.list_repo_refs(REPO).tags


def test_a_pull_request_leaves_main_alone(api):
    before = api.model_info(REPO).sha
    request = api.create_commit(REPO, operations(), commit_message="publish", create_pr=True)
    assert request.pr_revision == "refs/pr/1"
    assert api.model_info(REPO).sha == before
    assert api.model_info(REPO, revision="refs/pr/1").sha == request.oid


def test_a_tree_of_many_files_comes_in_pages(hub, api):
    hub.store.write(hub.store.repositories["model", REPO], {f"many/{i:04}.txt": b"" for i in range(2100)})
    assert len(list(api.list_repo_tree(REPO, recursive=True))) == 2102
    assert [entry.path for entry in api.list_repo_tree(REPO)] == [".gitattributes", "many"]
    assert [entry.size for entry in api.get_paths_info(REPO, [".gitattributes", "missing"])] != []


def test_only_the_owner_writes(hub, api):
    from huggingface_hub.errors import HfHubHTTPError

    hub.repository("org/base", {"config.json": b"{}"})
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_commit("org/base", operations(), commit_message="publish")
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo("org/other")


def test_the_client_repeats_an_upload_but_not_a_commit(hub, api):
    from huggingface_hub.errors import HfHubHTTPError

    hub.inject("PUT", "/_upload/", Status(500))
    api.create_commit(REPO, operations(), commit_message="publish")
    hub.inject("POST", "/commit/", Status(503))
    with pytest.raises(HfHubHTTPError, match="503"):
        api.create_commit(REPO, operations(b"other"), commit_message="publish")


def test_it_comes_back_after_it_was_down(hub):
    from urllib.error import URLError

    hub.stop()
    with pytest.raises(URLError):
        urlopen(f"{hub.url}/api/models/a/b")
    hub.reset()
    hub.repository("a/b")
    with urlopen(f"{hub.url}/api/models/a/b") as answer:
        assert answer.status == 200
