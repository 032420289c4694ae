"""Publishes the files of a folder below a prefix: `put.py URL FOLDER`, in a process that can be killed."""

import sys
from pathlib import Path

from loramerge.files.digest import files_of
from loramerge.targets import S3Target
from loramerge.targets.target import Delivery

if __name__ == "__main__":
    url, folder = sys.argv[1:]
    S3Target(kind="s3", url=url).publish(Delivery("mine", files_of(Path(folder))), Path("/nowhere"), force=False)
