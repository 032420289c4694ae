import shutil
import subprocess

import pytest
from command_line import PROGRAM, invoke, process

from loramerge.errors import ExitCode


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell):
    result = invoke("completion", shell)
    assert result.exit_code == ExitCode.DONE
    assert "_LORAMERGE_COMPLETE" in result.stdout


def test_what_it_completes():
    environment = {"_LORAMERGE_COMPLETE": "bash_complete", "COMP_WORDS": "loramerge in", "COMP_CWORD": "1"}
    done = process(env=environment)
    assert done.stdout.split() == ["plain,inspect", "plain,init"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", ["run ", "run --out ", "validate ", "inspect ", "inspect --base ", "init ", "init -o ", "schema --write "]
)
def test_it_completes_files_wherever_one_is_meant(words):
    environment = {
        "_LORAMERGE_COMPLETE": "bash_complete",
        "COMP_WORDS": f"loramerge {words}x",
        "COMP_CWORD": str(len(words.split()) + 1),
    }
    assert process(env=environment).stdout.split() == ["file,x"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_takes_it():
    script = f"eval \"$('{PROGRAM}' completion bash)\"; complete -p loramerge"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert "_loramerge_completion" in done.stdout


def test_another_shell():
    assert invoke("completion", "tcsh").exit_code == ExitCode.USAGE
