from command_line import ROOT, invoke

from loramerge.cli.output import schema as output
from loramerge.errors import ExitCode
from loramerge.recipe import schema


def test_printed():
    assert invoke("schema").stdout == invoke("schema", "recipe").stdout == schema.text()
    assert invoke("schema", "output").stdout == output.text()
    assert invoke("schema", "outputs").exit_code == ExitCode.USAGE


def test_written_and_checked(here):
    assert invoke("schema", "--write", "schemas").exit_code == ExitCode.DONE
    assert (here / "schemas/recipe.schema.json").read_text() == schema.text()
    assert (here / "schemas/output.schema.json").read_text() == output.text()
    assert invoke("schema", "--check").stdout == "schemas/recipe.schema.json: ok\nschemas/output.schema.json: ok\n"


def test_a_schema_of_another_version(here):
    (here / "recipe.schema.json").write_text("{}")
    result = invoke("schema", "--check", "--write", ".")
    assert result.exit_code == ExitCode.FAILED
    assert result.stderr == (
        "error: recipe.schema.json is not the schema of this version\nhint: `loramerge schema --write .` writes it\n"
    )
    assert (here / "recipe.schema.json").read_text() == "{}"


def test_no_schema_to_check(here):
    result = invoke("schema", "--check")
    assert result.exit_code == ExitCode.FAILED
    assert result.stderr.startswith("error: there is no schemas/recipe.schema.json\n")


def test_the_one_that_comes_with_loramerge(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert invoke("schema", "--check").exit_code == ExitCode.DONE


def test_a_folder_gets_both(here):
    for options in (["--write", "x"], ["--check"]):
        result = invoke("schema", "recipe", *options)
        assert result.exit_code == ExitCode.USAGE
        assert "hint: leave out recipe" in result.stderr
    assert list(here.iterdir()) == []
