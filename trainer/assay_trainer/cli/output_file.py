"""Files that a command is told to write."""

from pathlib import Path

from assay_api.errors import InvalidInput


def check_output_file(option: str, path: Path, example: str) -> None:
    """Refuse a path that cannot become a file, before any work is done for it.

    Args:
        option: that named the path, such as `--out`.
        path: where the file will be; an existing one will be replaced.
        example: a good name of such a file.

    Raises:
        InvalidInput: it is a folder, or its folder is missing or is none.
    """
    if path.is_dir():
        raise InvalidInput(f"{option} {path}: is a folder; give the name of a file, e.g. {example}")
    if path.parent.is_dir():
        return
    if path.parent.exists():
        raise InvalidInput(f"{option} {path}: {path.parent} is a file; choose another folder")
    raise InvalidInput(f"{option} {path}: folder {path.parent} does not exist; create it first")
