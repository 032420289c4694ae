"""A CI that publishes without a token of its own; the whole way is in test_gitops.py."""

from __future__ import annotations

import pytest
from command_line import MODELS, process, write_recipe
from hub.routes_oauth import EXCHANGED, REQUEST_TOKEN

from loramerge.errors import ExitCode

pytestmark = pytest.mark.slow

REPO = "tester/merge"


@pytest.fixture
def lock(hub, tmp_path):
    """Locks a recipe whose LoRA is on the Hub, in a job of GitHub Actions."""
    hub.repository("org/ink", {"ink.safetensors": (MODELS / "ink.safetensors").read_bytes()})
    recipe = write_recipe(tmp_path, base=MODELS / "base", loras={"ink": "hf://org/ink/ink.safetensors"})
    job = {"GITHUB_ACTIONS": "true", "HF_OIDC_RESOURCE": REPO}
    identity = {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{hub.url}/ci/identity",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": REQUEST_TOKEN,
    }
    return lambda *, may_ask=True: process("lock", recipe, env=job | (identity if may_ask else {}))


def test_the_identity_is_exchanged_for_a_token(lock, hub):
    hub.repository(REPO).trusted = True
    done = lock()
    assert done.returncode == ExitCode.DONE, done.stderr
    assert EXCHANGED in {call.token for call in hub.log}
    assert EXCHANGED not in done.stdout + done.stderr


def test_a_repository_that_does_not_trust_the_ci(lock, hub):
    hub.repository(REPO)
    done = lock()
    assert done.returncode == ExitCode.BAD_SOURCE
    assert f"the Hub does not trust this CI to publish to {REPO}" in done.stderr
    assert "hint: add its repository, branch and workflow under Trusted Publishers" in done.stderr


def test_a_job_that_may_not_ask_for_its_identity(lock):
    done = lock(may_ask=False)
    assert done.returncode == ExitCode.BAD_SOURCE
    assert f"HF_OIDC_RESOURCE is {REPO}, and there is no identity to show for it" in done.stderr
    assert "`permissions: id-token: write`" in done.stderr
