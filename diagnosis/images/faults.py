"""Why a picture is refused, before a file name is known."""

from __future__ import annotations


class ImageFault(Exception):
    """Raised by the format modules; `intake` turns it into an `ImageRejected` that names the file.

    `reason` completes the sentence "<file name> ..." and says what to do about it.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def corrupt() -> ImageFault:
    """The bytes end early or contradict themselves: nothing of it may be shown as a smear."""
    return ImageFault(
        "corrupt", "is damaged or incomplete. Copy it again from the microscope computer and add it again."
    )


def unsupported(what: str) -> ImageFault:
    """A sound file of a kind that cannot be kept truthfully as an 8-bit colour picture."""
    return ImageFault("unsupported", f"uses {what}. Export it as an ordinary 8-bit colour JPEG, PNG or TIFF.")


def several_pictures() -> ImageFault:
    """An animation, a stack or a pyramid: which of its pictures is meant cannot be guessed."""
    return ImageFault(
        "several_pictures", "holds more than one picture. Export each picture as its own file and add those."
    )
