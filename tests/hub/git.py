"""Object ids as git computes them."""

import hashlib
from collections.abc import Mapping


def object_id(kind: str, content: bytes) -> str:
    """Id of a `blob`, `tree` or `commit`, 40 hex digits."""
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """The text file that git keeps in place of a file in large file storage."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def tree_id(blobs: Mapping[str, str]) -> str:
    """Id of the tree that holds the blob ids under their '/'-separated names."""
    folders: dict[str, dict[str, str]] = {}
    entries = []
    for name, blob in blobs.items():
        first, _, rest = name.partition("/")
        if rest:
            folders.setdefault(first, {})[rest] = blob
        else:
            entries.append((first, b"100644 %s\0%s" % (first.encode(), bytes.fromhex(blob))))
    for first, below in folders.items():
        # git sorts a folder as if its name ended in '/'
        entries.append((f"{first}/", b"40000 %s\0%s" % (first.encode(), bytes.fromhex(tree_id(below)))))
    return object_id("tree", b"".join(entry for _, entry in sorted(entries)))


def commit_id(tree: str, parent: str | None, author: str, message: str) -> str:
    """Id of a commit whose author and committer are the same."""
    parents = f"parent {parent}\n" if parent else ""
    return object_id("commit", f"tree {tree}\n{parents}author {author}\ncommitter {author}\n\n{message}".encode())
