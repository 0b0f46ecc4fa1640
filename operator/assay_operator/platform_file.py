"""The file with the platform: what Helm renders and the operator reads."""

from pathlib import Path

from pydantic import ValidationError

from assay_api.documents import parse_documents
from assay_api.errors import InvalidInput
from assay_api.platform import Platform
from assay_api.problems import explain_invalid

_NAME = "8x40gb.yaml"
_PLACES = (
    # In an installed package, and in a checkout.
    Path(__file__).parent / "platforms",
    Path(__file__).parents[2] / "manifests/platforms",
)


def example_platform_path() -> Path:
    """Return the packaged example: nodes of 8 GPUs with 40 GB each."""
    return next(place / _NAME for place in _PLACES if (place / _NAME).is_file())


def load_platform(path: str | None) -> Platform:
    """Return the platform that a file describes; None: the packaged example.

    Raises:
        InvalidInput: the file is missing or wrong; a line for each field.
    """
    file = Path(path) if path is not None else example_platform_path()
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"platform file {file}: cannot be read: {error}") from error
    return parse_platform(text, str(file))


def parse_platform(text: str, source: str) -> Platform:
    """Return the platform that a YAML text describes.

    Args:
        text: the content of a file.
        source: its name, for messages.

    Raises:
        InvalidInput: it is not one document, or a field is wrong; a line for each.
    """
    documents = parse_documents(text, source)
    if len(documents) != 1:
        raise InvalidInput(f"{source}: must hold one platform, found {len(documents)} documents")
    try:
        return Platform.model_validate(documents[0].body)
    except ValidationError as error:
        lines = explain_invalid(Platform, error)
        raise InvalidInput("\n".join(f"{source}: {line}" for line in lines)) from error
