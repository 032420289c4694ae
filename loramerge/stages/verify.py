"""Stage: compare an artifact with its provenance, and with itself made again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from loramerge import signing
from loramerge.artifact import BESIDE, SIGNATURE
from loramerge.digest import files_of, sha256_of
from loramerge.errors import Finding, SourceError, VerificationError
from loramerge.progress import Progress, Silent
from loramerge.provenance import Provenance
from loramerge.sources import PathSource, parse
from loramerge.stages.rebuild import Rebuilt, rebuild_and_compare
from loramerge.statement import STATEMENT
from loramerge.targets import record
from loramerge.targets.record import Record

if TYPE_CHECKING:
    from loramerge.sources import Located

_Signature = Literal["unchecked", "verified"] | None
UNCHECKED = f"{SIGNATURE} was not checked; give --public-key, or --identity and --identity-provider"


@dataclass(frozen=True)
class Verified:
    """An artifact that is what its provenance says.

    Attributes:
        reference: As it was given.
        provenance: What its provenance.json says.
        left_out: Folders of outputs that were not published there.
        signature: None if there is none, `unchecked` if nobody was named whose signature counts.
        rebuilt: How it compares with itself made again; None if that was not asked for.
    """

    reference: str
    provenance: Provenance
    left_out: tuple[str, ...]
    signature: _Signature
    rebuilt: Rebuilt | None


def verify(
    reference: Path | str,
    *,
    rebuild: bool = False,
    recipe: Path | None = None,
    public_key: Path | str | None = None,
    identity: str | None = None,
    identity_provider: str | None = None,
    progress: Progress | None = None,
) -> Verified:
    """Check every file of an artifact.

    A provenance says nothing of who wrote it: somebody who changes a file can change the provenance with it. With a
    public key, or an identity and its provider, every file must be as whoever has that key or identity signed it.

    Args:
        reference: A folder, or `hf://owner/name[@revision]`.
        rebuild: Make it again from its recipe, and compare.
        recipe: Where the recipe lies, or its folder: where relative paths in it start.
        public_key: The file of an EC public key in PEM, whose signature the artifact must have.
        identity: Who must have signed with Sigstore: an address, or the URL of a workflow.
        identity_provider: The URL of who vouches for the identity.
        progress: Told of every file, and of the steps of making it again.

    Raises:
        VerificationError: With everything that is wrong.
        SourceError: There is no such artifact.
        UsageError: Making it again needs to know where relative paths start; or the key can't be used.
    """
    trust = signing.trust(public_key, identity, identity_provider)
    progress = progress or Silent()
    shown = str(reference)
    present = _present(shown)
    signature = present.pop(SIGNATURE, None)
    provenance = _provenance(shown, present)
    published = _published(provenance, present)
    present = {name: path for name, path in present.items() if name.partition("/")[0] not in BESIDE}
    files = _as_published(published, provenance, present)
    left_out = tuple(name for name in provenance.outputs if name not in published)
    progress.start("verify", len(files))
    digests = dict(_digests(files, progress))
    findings = list(_findings(_without(provenance.files, left_out), digests))
    if trust is not None:
        named = {each.file for each in findings}
        # The signature covers the whole artifact: the provenance, which is signed, knows what was not published there.
        elsewhere = {name: digest for name, digest in provenance.files.items() if name.partition("/")[0] in left_out}
        signed = {**elsewhere, **digests, STATEMENT: sha256_of(present[STATEMENT])}
        findings += [each for each in trust.findings(signature, signed) if each.file not in named]
    state: _Signature = None if signature is None else "unchecked" if trust is None else "verified"
    if findings:
        raise VerificationError(shown, findings, hint=UNCHECKED if state == "unchecked" else "")
    rebuilt = rebuild_and_compare(shown, provenance, files, recipe=recipe, progress=progress) if rebuild else None
    return Verified(shown, provenance, left_out, state, rebuilt)


def _present(reference: str) -> dict[str, Path]:
    """Name → file of everything that an artifact holds."""
    place, _, revision = reference.partition("@") if reference.startswith("hf://") else (reference, "", "")
    source = parse(place, folder=Path.cwd(), revision=revision or None)
    if isinstance(source, PathSource):  # everything counts there, hidden or not
        if not source.path.is_dir():
            raise SourceError(f"{reference} is no folder", hint="name an artifact's folder, or hf://owner/name")
        found = files_of(source.path)
    else:
        located = source.locate()
        found = _fetched(located)
        with suppress(SourceError):  # somebody else's repository has no records
            records = parse(f"{place}/{record.FOLDER}", folder=Path.cwd(), revision=located.revision).locate()
            found |= {f"{record.FOLDER}/{name}": path for name, path in _fetched(records).items()}
    return found


def _fetched(located: Located) -> dict[str, Path]:
    folder = located.fetch(located.files)
    return {name: folder / name for name in located.files}


def _provenance(reference: str, present: Mapping[str, Path]) -> Provenance:
    if STATEMENT not in present:
        finding = Finding("provenance", STATEMENT, f"there is no {STATEMENT}")
        raise VerificationError(reference, [finding], hint="only what `loramerge run` made can be verified, as a whole")
    try:
        return Provenance.parse(present[STATEMENT].read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        finding = Finding("provenance", STATEMENT, f"{STATEMENT} is damaged: {error}")
        raise VerificationError(reference, [finding], hint="fetch the artifact again, or make it again") from None


def _published(provenance: Provenance, present: Mapping[str, Path]) -> Sequence[str]:
    """Folders of the outputs that a target took, as its record says; all of them where there is none."""
    place = record.place(provenance.recipe)
    known = Record.parse(present[place].read_text(encoding="utf-8", errors="replace")) if place in present else None
    return provenance.outputs if known is None or known.outputs is None else known.outputs


def _as_published(published: Sequence[str], provenance: Provenance, present: Mapping[str, Path]) -> dict[str, Path]:
    """Files by their names in the artifact: where a single output was published, it lies at the target's root."""
    files = {name: path for name, path in present.items() if name != STATEMENT}
    if len(published) == 1:
        start = f"{published[0]}/"
        if not any(name.startswith(start) for name in files):
            moved = {name.removeprefix(start): name for name in provenance.files if name.startswith(start)}
            return {moved.get(name, name): path for name, path in files.items()}
    return files


def _without(files: Mapping[str, str], folders: Sequence[str]) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if name.partition("/")[0] not in folders}


def _digests(files: Mapping[str, Path], progress: Progress) -> Iterator[tuple[str, str]]:
    for name, path in files.items():
        yield name, sha256_of(path)
        progress.advance()


def _findings(expecting: Mapping[str, str], digests: Mapping[str, str]) -> Iterator[Finding]:
    for name in sorted(expecting.keys() | digests.keys()):
        expected = expecting.get(name)
        if name not in digests:
            yield Finding("missing", name, f"{name} is missing")
        elif expected is None:
            yield Finding("extra", name, f"{name} is extra: {STATEMENT} does not know it")
        elif (found := digests[name]) != expected:
            yield Finding("changed", name, f"{name} was changed: its sha256 is {found}, expected {expected}")
