"""Where the cache is; platformdirs answers for macOS as well as for Linux, whichever runs this."""

import sys

import pytest
from platformdirs.macos import MacOS
from platformdirs.unix import Unix

from loramerge.files.cache import cache_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows alone says where its folders are")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    return tmp_path


@pytest.mark.parametrize(("system", "folder"), [(Unix, ".cache/loramerge"), (MacOS, "Library/Caches/loramerge")])
def test_the_folder_is_where_the_system_keeps_such_things(home, monkeypatch, system, folder):
    monkeypatch.setattr("platformdirs.PlatformDirs", system)
    assert cache_folder() == home / folder


@pytest.mark.parametrize("system", [Unix, MacOS])
def test_the_variable_that_is_documented_holds_on_each(home, monkeypatch, system):
    monkeypatch.setattr("platformdirs.PlatformDirs", system)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "elsewhere"))
    assert cache_folder() == home / "elsewhere" / "loramerge"


def test_a_user_without_a_home_gets_no_folder_of_that_name_here(monkeypatch):
    def nobody(_):
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(RuntimeError, match="home"):
        cache_folder()
