"""Stage: compare an artifact with its provenance, and with itself made again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from loramerge.artifact import model_card
from loramerge.artifact.contents import CARD, LOCK, SIGNATURE
from loramerge.artifact.in_toto import STATEMENT
from loramerge.errors import Finding, InvalidRecipeError, VerificationError
from loramerge.files.at_rest import at_rest, content_at
from loramerge.files.digest import sha256_of
from loramerge.files.file_view import FileBytes
from loramerge.files.kept_digests import reading_anew
from loramerge.files.reading import content_of, text_of
from loramerge.lock.model import read as read_lock
from loramerge.progress import Progress, Silent
from loramerge.provenance.provenance import Provenance, locked_inputs
from loramerge.provenance.signing import verify as signatures
from loramerge.stages.published import folder_of, held
from loramerge.stages.rebuild import Rebuilt, rebuild_and_compare

if TYPE_CHECKING:
    from loramerge.provenance.signing.verify import Trust

_Signature = Literal["unchecked", "verified"] | None
UNCHECKED = f"{SIGNATURE} was not checked; give --public-key, or --identity and --identity-provider"


@dataclass(frozen=True)
class Verified:
    """An artifact that is what its provenance says.

    Attributes:
        reference: As it was given.
        provenance: What its provenance.json says.
        left_out: Folders of outputs that were not published there.
        words_of_others: The model card holds more than our part of it, for which nothing vouches.
        signature: None if there is none, `unchecked` if nobody was named whose signature counts.
        rebuilt: How it compares with itself made again; None if that was not asked for.
    """

    reference: str
    provenance: Provenance
    left_out: tuple[str, ...]
    words_of_others: bool
    signature: _Signature
    rebuilt: Rebuilt | None


def verify(  # noqa: PLR0913  each is an option of the command
    reference: Path | str,
    *,
    rebuild: bool = False,
    recipe: Path | None = None,
    public_key: Path | str | None = None,
    identity: str | None = None,
    identity_provider: str | None = None,
    partial: bool = False,
    progress: Progress | None = None,
) -> Verified:
    """Check every file of an artifact.

    A provenance says nothing of who wrote it: somebody who changes a file can change the provenance with it. With a
    public key, or an identity and its provider, every file must be as whoever has that key or identity signed it.

    Of the model card that is our part: its owner may write beside it, and nothing vouches for that. Every byte is read,
    whatever earlier runs kept of the files.

    Args:
        reference: A folder, `hf://owner/name[@revision]`, `oci://host/name:tag`,
            `oci://host/name@sha256:…` or `s3://bucket/prefix`.
        rebuild: Make it again from its recipe, and compare.
        recipe: Where the recipe lies, or its folder: where relative paths in it start.
        public_key: The file of an EC public key in PEM, whose signature the artifact must have.
        identity: Who must have signed with Sigstore: an address, or the URL of a workflow.
        identity_provider: The URL of who vouches for the identity.
        partial: Be content with a place that took some of the outputs, as its record says, which nobody signed.
        progress: Told of every file, and of the steps of making it again.

    Raises:
        VerificationError: With everything that is wrong.
        SourceError: There is no such artifact.
        UsageError: Making it again needs to know where relative paths start; or the key can't be used.
    """
    trust = signatures.trust(public_key, identity, identity_provider)
    progress = progress or Silent()
    with reading_anew():
        found, files = _compared(str(reference), trust, partial=partial, progress=progress)
        if not rebuild:
            return found
        again = rebuild_and_compare(found.reference, found.provenance, files, recipe=recipe, progress=progress)
        return replace(found, rebuilt=again)


def compare(place: Path) -> Verified:
    """Check every file of an artifact here, as `verify` does.

    A large file that did not change since an earlier run hashed it is not read.

    Raises:
        VerificationError: With everything that is wrong.
        SourceError: There is no such artifact.
    """
    return _compared(str(place), None, partial=False, progress=Silent())[0]


def _compared(
    shown: str, trust: Trust | None, *, partial: bool, progress: Progress
) -> tuple[Verified, Mapping[str, Path]]:
    """What an artifact proved to be, and where its files are, by their names in the provenance."""

    def look() -> tuple[Verified, Mapping[str, Path]]:
        return _checked(shown, trust, partial=partial, progress=progress)

    folder = folder_of(shown)
    return look() if folder is None else at_rest(look, lambda: content_at(folder / STATEMENT))


def _checked(
    shown: str, trust: Trust | None, *, partial: bool, progress: Progress
) -> tuple[Verified, Mapping[str, Path]]:
    found = held(shown)
    provenance = _provenance(shown, found.files)
    files = found.as_in_artifact(provenance)
    signature = files.pop(SIGNATURE, None)
    published = found.published(provenance)
    left_out = tuple(name for name in provenance.outputs if name not in published)
    progress.start("verify", len(files))
    digests = dict(_digests(files, progress))
    edited = _is_edited(files, digests, provenance)
    if edited:
        digests[CARD] = provenance.files[CARD]
    findings = [*_findings(_without(provenance.files, left_out), digests), *map(_odd, found.odd)]
    if LOCK in files and digests[LOCK] == provenance.files.get(LOCK):
        findings += _unlocked(files[LOCK], provenance)
    if trust is not None:
        if not partial:
            findings += map(_unproven, left_out)
        named = {each.file for each in findings}
        # The signature covers the whole artifact: the provenance, which is signed, knows what was not published there.
        elsewhere = {name: digest for name, digest in provenance.files.items() if name.partition("/")[0] in left_out}
        signed = {**elsewhere, **digests, STATEMENT: sha256_of(found.files[STATEMENT])}
        findings += [each for each in trust.findings(signature, signed) if each.file not in named]
    state: _Signature = None if signature is None else "unchecked" if trust is None else "verified"
    if findings:
        raise VerificationError(shown, findings, hint=UNCHECKED if state == "unchecked" else "")
    return Verified(shown, provenance, left_out, edited, state, None), files


def _provenance(reference: str, present: Mapping[str, Path]) -> Provenance:
    if STATEMENT not in present:
        finding = Finding("provenance", STATEMENT, f"there is no {STATEMENT}")
        raise VerificationError(reference, [finding], hint="only what `loramerge run` made can be verified, as a whole")
    try:
        return Provenance.parse(text_of(present[STATEMENT]))
    except (OSError, ValueError) as error:
        finding = Finding("provenance", STATEMENT, f"{STATEMENT} is damaged: {error}")
        raise VerificationError(reference, [finding], hint="fetch the artifact again, or make it again") from None


def _is_edited(files: Mapping[str, Path], digests: Mapping[str, str], provenance: Provenance) -> bool:
    """Whether the model card is ours, with what its owner wrote beside it."""
    expected = provenance.files.get(CARD)
    if CARD not in files or expected is None or digests[CARD] == expected:
        return False
    return model_card.digest(content_of(files[CARD])) == expected


def _unlocked(lock: Path, provenance: Provenance) -> Iterator[Finding]:
    """What the lock and the provenance say of the inputs, and say differently."""
    try:
        locked = locked_inputs(read_lock(lock))
    except InvalidRecipeError as error:
        yield Finding("input", LOCK, f"{LOCK} can't be read: {error.message.splitlines()[0]}")
        return
    for lora, place in sorted(locked.keys() | provenance.inputs.keys()):
        here, there = locked.get((lora, place), "nothing"), provenance.inputs.get((lora, place), "nothing")
        needless = not lora and there == "nothing"  # a lock may have the weights of a base whose configs were enough
        if here != there and not needless:
            whose = f"LoRA {lora}" if lora else "the base"
            yield Finding("input", place, f"{place} of {whose}: {LOCK} has {here}, {STATEMENT} has {there}")


def _odd(name: str) -> Finding:
    return Finding("extra", name, f"{name} is extra: {STATEMENT} knows no hidden files, links to folders or the like")


def _unproven(output: str) -> Finding:
    message = f"{output} was signed and is not there: that it was not published is not signed; --partial accepts it"
    return Finding("signature", output, message)


def _without(files: Mapping[str, str], folders: Sequence[str]) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if name.partition("/")[0] not in folders}


def _digests(files: Mapping[str, Path], progress: Progress) -> Iterator[tuple[str, str]]:
    for name, path in files.items():
        yield name, FileBytes.at(path, name).digest().sha256
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
