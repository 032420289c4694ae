"""`loramerge verify`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loramerge.cli import console, options, progress
from loramerge.cli.each import each_of
from loramerge.errors import ExitCode, UsageError, VerificationError, common
from loramerge.messages import counted

if TYPE_CHECKING:
    from loramerge.cli.boundary import Failure
    from loramerge.stages.rebuild import Rebuilt
    from loramerge.stages.verify import Verified


@click.command(
    epilog=options.examples(
        "loramerge verify dist/quickstart",
        "loramerge verify hf://owner/merge@v1.0 --json | jq -r '.[].findings[].file'",
        "loramerge verify dist/quickstart --rebuild --recipe recipes/quickstart.yaml",
        "loramerge verify hf://owner/merge --public-key owner.pub",
        "loramerge verify oci://ghcr.io/owner/merge:v1.0",
    )
)
@click.argument("artifacts", metavar="ARTIFACT...", nargs=-1, required=True)
@click.option("--rebuild", is_flag=True, help="Make it again from its recipe, and compare file by file.")
@click.option(
    "--recipe",
    metavar="PATH",
    type=options.ThereType(),
    help="Where its recipe lies, for --rebuild: relative paths start there.",
)
@click.option("--public-key", metavar="FILE", type=click.Path(), help="Whose signature it must have: EC, in PEM.")
@click.option(
    "--identity", metavar="WHO", help="Who must have signed it with Sigstore: an address, or a workflow's URL."
)
@click.option("--identity-provider", metavar="URL", help="Who vouches for that identity.")
@click.option("--partial", is_flag=True, help="With a key: be content where some outputs were not published.")
@options.as_json
@options.verbose
def command(artifacts: tuple[str, ...], recipe: str | None, as_json: bool, verbose: bool, **given: Any) -> ExitCode:
    """Check every file of artifacts against their provenance.

    ARTIFACT is a folder, hf://owner/name[@revision], oci://host/name:tag, oci://host/name@sha256:… or
    s3://bucket/prefix. Files that were changed, are missing or extra are named, all of them; exits with 6 when there
    are any. With --rebuild the artifact is made again from its own recipe and inputs, and must come out the same: to
    the byte, or within the tolerance that is printed where bytes depend on the environment. With a public key or an
    identity, every file must be as it was signed in model.sig.
    """
    from loramerge.stages.verify import verify

    if recipe is not None and not given["rebuild"]:
        raise UsageError(
            "--recipe says where the recipe lies for --rebuild", hint="add --rebuild, or leave out --recipe"
        )
    if given["partial"] and given["public_key"] is None and given["identity"] is None:
        raise UsageError(
            "--partial is for artifacts whose signature is checked",
            hint="add --public-key or --identity; without them nothing has to be left out",
        )
    place = Path(recipe) if recipe is not None else None

    def checked(artifact: str) -> dict[str, Any]:
        try:
            with progress.shown(artifact, as_json=as_json) as watcher:
                verified = verify(artifact, recipe=place, progress=watcher, **given)
        except VerificationError as error:
            if not as_json:
                console.error(error.message, error.hint)
            return _failed(artifact, error)
        if not as_json:
            console.result("\n".join(_verified_lines(verified, verbose=verbose)))
        return _passed(verified)

    found, failures = each_of(artifacts, checked, _unchecked, as_json=as_json, verbose=verbose)
    if as_json:
        console.document(found)
    wrong = [ExitCode.NOT_VERIFIED for each in found if not each["verified"] and "error" not in each]
    return common([*failures, *wrong])


def _unchecked(artifact: str, found: Failure) -> dict[str, Any]:
    return {"artifact": artifact, "verified": False, "findings": [], "hint": found.hint or None, "error": found.data}


def _failed(artifact: str, error: VerificationError) -> dict[str, Any]:
    findings = [{"kind": each.kind, "file": each.file, "message": each.message} for each in error.findings]
    return {"artifact": artifact, "verified": False, "findings": findings, "hint": error.hint or None}


def _passed(verified: Verified) -> dict[str, Any]:
    return {
        "artifact": verified.reference,
        "verified": True,
        "recipe": verified.provenance.recipe,
        "files": len(verified.provenance.files),
        "findings": [],
        "left_out": list(verified.left_out),
        "words_of_others": verified.words_of_others,
        "signature": verified.signature,
        "rebuilt": _as_data(verified.rebuilt) if verified.rebuilt else None,
    }


def _as_data(rebuilt: Rebuilt) -> dict[str, Any]:
    return {
        "reasons": list(rebuilt.reasons),
        "identical": list(rebuilt.identical),
        "within_tolerance": {
            name: {"what": each.what, "value": each.value, "tolerance": each.tolerance}
            for name, each in rebuilt.close.items()
        },
    }


def _verified_lines(verified: Verified, *, verbose: bool) -> Iterator[str]:
    names = [name for name in verified.provenance.files if name.partition("/")[0] not in verified.left_out]
    files = counted(len(names), "file")
    yield f"{verified.reference}: {files}, all as the provenance of {verified.provenance.recipe} says"
    if verified.left_out:
        yield f"  not published there: {', '.join(verified.left_out)}"
    if verified.words_of_others:
        yield "  README.md has words of its owner beside our part: nothing vouches for those"
    if verified.signature == "verified":
        yield "  all of them as they were signed"
    elif verified.signature == "unchecked":
        from loramerge.stages.verify import UNCHECKED

        yield f"  {UNCHECKED}"
    if verified.rebuilt is not None:
        yield from _comparison(verified.rebuilt, verbose=verbose)


def _comparison(rebuilt: Rebuilt, *, verbose: bool) -> Iterator[str]:
    if not rebuilt.close:
        yield f"  made again: {counted(len(rebuilt.identical), 'file')}, identical to the byte"
        return
    yield f"  made again: {len(rebuilt.identical)} identical to the byte, {len(rebuilt.close)} within tolerance"
    for reason in rebuilt.reasons:
        yield f"    bytes may differ: {reason}"
    for what, tolerance in sorted({(each.what, each.tolerance) for each in rebuilt.close.values()}):
        largest = max(each.value for each in rebuilt.close.values() if (each.what, each.tolerance) == (what, tolerance))
        yield f"    {what}: at most {largest:.1e}, allowed {tolerance:.0e}"
    if verbose:
        for name, each in rebuilt.close.items():
            yield f"      {name}: {each.what} {each.value:.1e}"
