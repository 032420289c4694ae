"""An artifact in an OCI registry, or a file or folder in one; read at one digest.

The path follows the tag or the digest after a slash, which neither can have in it, as it follows the name on the Hub.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from loramerge.errors import SourceError
from loramerge.files.digest import FileDigest
from loramerge.files.outline import write_outline
from loramerge.hub.listing import CardFacts
from loramerge.registry.address import DIGEST, HOST, NAME, SCHEME, TAG, is_digest
from loramerge.registry.blobs import header_of_blob
from loramerge.registry.errors import explained
from loramerge.registry.manifest import MANIFEST, Descriptor, Manifest
from loramerge.registry.model_pack import licence_of
from loramerge.registry.repository import ArtifactRepository
from loramerge.sources.blob_cache import kept
from loramerge.sources.listing import below, refuse_leaving
from loramerge.sources.source import Given, Located, missing, nearest, not_promised, shown, stays_inside

_FORM = "write oci://host/name:tag or oci://host/name@sha256:…, and a file in it as oci://host/name:tag/file"
_CARD = "README.md"
_LARGEST_CARD = 1 << 20
_MANIFESTS = (MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")


def parts_of(reference: str) -> tuple[str, str, str] | None:
    """Registry, repository and path that a reference names; None where it is of another kind."""
    found = re.fullmatch(rf"{SCHEME}({HOST})/({NAME})(?::{TAG}|@{DIGEST})(?:/(.*))?", reference)
    return None if found is None else (found[1], found[2], found[3] or "")


def pinned(reference: str, digest: str) -> str:
    """A reference with the digest in the place of the tag, or of another digest; one of another kind as it is.

    Args:
        reference: `oci://host/name:tag/path`.
        digest: `sha256:` and 64 hex digits.
    """
    return re.sub(rf"^({SCHEME}{HOST}/{NAME})(?::{TAG}|@{DIGEST})(?=/|$)", rf"\1@{digest}", reference)


@dataclass(frozen=True)
class OciSource:
    """`oci://host[:port]/name:tag[/path]` or `oci://host[:port]/name@sha256:…[/path]`.

    Attributes:
        reference: As the recipe gives it.
        host: The registry, with its port if it has one.
        name: The repository in it.
        version: The tag or the digest.
        path: A file or folder in the artifact; empty for all of it.
        sha256: What the one file must have.
    """

    reference: str
    host: str
    name: str
    version: str
    path: str = ""
    sha256: str | None = None

    @classmethod
    def parse(cls, given: Given, /) -> OciSource | None:
        """Take `oci://…`.

        Raises:
            SourceError: Host, name, tag, digest or path can't be right, or a revision or a password was given.
        """
        if not given.reference.lower().startswith("oci:"):
            return None
        reference = shown(given.reference)
        host, _, rest = given.reference.removeprefix(SCHEME).partition("/")
        if "@" in host or "?" in rest or "#" in rest:
            raise SourceError(
                f"{reference}: a registry's name has no user, and a reference no query",
                hint="log in with `docker login` or `oras login`; name a file as oci://host/name:tag/file",
            )
        found = re.fullmatch(rf"(?P<name>{NAME})(?::(?P<tag>{TAG}))?(?:@(?P<digest>{DIGEST}))?(?P<path>/.*)?", rest)
        if not given.reference.startswith(SCHEME) or not re.fullmatch(HOST, host) or not found:
            raise SourceError(f"{reference} names no artifact in a registry", hint=_FORM)
        if (found["tag"] is None) == (found["digest"] is None):
            said = "both a tag and a digest" if found["tag"] else "neither a tag nor a digest"
            raise SourceError(f"{reference} has {said}", hint=_FORM)
        path = (found["path"] or "").removeprefix("/")
        if found["path"] is not None and not stays_inside(path):
            raise SourceError(
                f"{reference}: {path!r} is no path in an artifact",
                hint="separate the parts by single '/', without '.', '..', ':' and '\\'",
            )
        if given.revision is not None:
            raise SourceError(
                f"{reference}: a reference in a registry has its tag or digest in it", hint="leave out the revision"
            )
        if given.sha256 is not None and not path:
            raise SourceError(
                f"{reference}: it is an artifact, and `sha256` is for one file",
                hint="name the file, or pin the artifact by its digest: oci://host/name@sha256:…",
            )
        return cls(given.reference, host, found["name"], found["tag"] or found["digest"], path, given.sha256)

    @property
    def local(self) -> Path | None:
        """None: it has to be fetched."""
        return None

    def at(self, commit: str, /) -> OciSource:
        """The same at a digest; a reference that has one stays at it."""
        return replace(self, version=commit) if is_digest(commit) and not is_digest(self.version) else self

    def locate(self) -> Located:
        """Find out which manifest the tag names and list its files; of their bytes the model card's alone are fetched.

        Raises:
            SourceError: Registry, repository, tag or file is missing or refused, or the artifact has no files to read.
        """
        repository = ArtifactRepository(self.host, self.name)
        with explained(self.reference):
            manifest = self._manifest(repository)
            self._check_kind(manifest)
            self._check_archives(manifest)
            folder, layers = below(self.reference, "the artifact", self.path, manifest.files)
            self._check_file(manifest.files.get(self.path))
            card = self._card(repository, manifest)
            licence = card.licence or licence_of(repository, manifest)
        return Located(
            self.reference,
            manifest.digest,
            tuple(sorted(layers)),
            partial(self._fetch, repository, manifest, folder, layers),
            licence,
            {name: FileDigest(layer.size, layer.sha256) for name, layer in layers.items()},
            tuple(sorted(name for name in manifest.files if not self.path and name not in layers)),
            card,
            partial(self._outline, repository, layers),
        )

    def _manifest(self, repository: ArtifactRepository) -> Manifest:
        found = repository.find(self.version)
        if found is None:
            tags = [] if is_digest(self.version) else repository.tags()
            what = f"{self.name} has no tag {self.version}" if tags else f"there is no {self.name} with {self.version}"
            raise SourceError(
                f"{self.reference}: {what}", hint=nearest(self.version, tags) or "check repository, tag and digest"
            )
        return found

    def _check_kind(self, manifest: Manifest) -> None:
        if manifest.media_type not in _MANIFESTS:
            raise SourceError(
                f"{self.reference} names an index of several manifests, not an artifact",
                hint="name one of them by its digest: oci://host/name@sha256:…",
            )
        names = [layer.file_name for layer in manifest.layers]
        if not any(names):
            raise SourceError(
                f"{self.reference}: no layer says which file it is, as of a container image",
                hint="name an artifact that ModelPack's tools or `oras push` made",
            )
        known = [name for name in names if name is not None]
        refuse_leaving(self.reference, "artifact", known)
        odd = next((name for name in known if not name.isprintable()), None)
        twice = next((name for name in known if known.count(name) > 1), None)
        if odd is not None or twice is not None:
            what = f"a file name with control characters, {odd!r}" if odd is not None else f"two files called {twice}"
            raise SourceError(f"{self.reference}: the artifact has {what}", hint="do not use this artifact")

    def _check_archives(self, manifest: Manifest) -> None:
        folder = self.path and f"{self.path}/"
        packed = [str(layer.file_name) for layer in manifest.layers if layer.is_archive]
        if packed and self.path not in manifest.files and any(f"{name}/".startswith(folder) for name in packed):
            raise SourceError(
                f"{self.reference}: {packed[0]} is a tar archive, and archives are not unpacked",
                hint="name one file of the artifact, or have it made with raw layers: `modctl build --raw`, "
                "`oras push` of files instead of folders",
            )

    def _check_file(self, layer: Descriptor | None) -> None:
        if layer is None:
            if self.sha256 is not None:
                raise SourceError(
                    f"{self.reference}: it is a folder, and `sha256` is for one file", hint="name the file"
                )
        elif layer.size == 0:
            raise SourceError(f"{self.reference}: the file is empty", hint="ask its author for the right one")
        elif self.sha256 not in {None, layer.sha256}:
            raise not_promised(self.reference, layer.sha256, str(self.sha256))

    def _card(self, repository: ArtifactRepository, manifest: Manifest) -> CardFacts:
        layer = manifest.files.get(_CARD)
        if layer is None or layer.size > _LARGEST_CARD:
            return CardFacts()
        return CardFacts.here(kept(repository, manifest.digest, _CARD, layer, self.reference))

    def _fetch(
        self,
        repository: ArtifactRepository,
        manifest: Manifest,
        folder: str,
        layers: Mapping[str, Descriptor],
        names: Iterable[str],
        /,
    ) -> Path:
        wanted = tuple(names)
        if not wanted:
            raise ValueError("no names to fetch")
        missing(wanted, layers, reference=self.reference)
        with explained(self.reference):
            for name in wanted:
                file = kept(repository, manifest.digest, folder + name, layers[name], self.reference)
        return file.parents[name.count("/")]

    def _outline(
        self,
        repository: ArtifactRepository,
        layers: Mapping[str, Descriptor],
        names: Iterable[str],
        into: Path,
        /,
    ) -> None:
        for name in names:
            file = into / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with explained(self.reference):
                if name.endswith(".safetensors"):
                    write_outline(file, header_of_blob(repository, layers[name]), layers[name].size)
                else:
                    file.write_bytes(repository.content(layers[name], layers[name].size))
