"""The poses that need no estimator: of --keypoints and --reference-keypoints, and those that another case has kept."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sa.runtime.errors import InputError
from sa.runtime.prepare.input.keypoints.file import (
    KeypointsFile,
    PhotoKeypoints,
    fit_warnings,
    read_keypoints,
    read_photo_keypoints,
)
from sa.runtime.prepare.input.keypoints.kept import FILE, is_case, sources_of
from sa.runtime.prepare.input.keypoints.poses import Size
from sa.runtime.system.hashing import sha256


@dataclass(frozen=True)
class Given:
    driving: KeypointsFile | None = None
    reference: PhotoKeypoints | None = None

    @property
    def files(self) -> dict[str, Path]:
        """What these poses were read from, by the names of case.json."""
        files = {} if self.driving is None else {"keypoints": self.driving.path}
        if self.reference is not None and self.reference.path not in files.values():
            files["reference_keypoints"] = self.reference.path
        return files

    @property
    def complete(self) -> bool:
        return self.driving is not None and self.reference is not None

    def warnings(self, photo: Size, frames: Size) -> list[str]:
        """Sentences on how they were fitted to a photo and frames of these sizes, and on what they lack."""
        reference = (
            [] if self.reference is None else fit_warnings(self.reference.path, self.reference.poses, photo, True)
        )
        driving = [] if self.driving is None else fit_warnings(self.driving.path, self.driving.driving, frames, False)
        return [*reference, *(said for said in driving if said not in reference)]


def read_given(
    keypoints: Path | None, reference: Path | None, photo: Path, driving: Callable[[], str], warnings: list[str]
) -> Given:
    """The poses in these files. `keypoints` may be a case: its reference's poses are taken for the same photo alone.

    driving: gives the SHA-256 of the driving source. InputError for what cannot be used.
    """
    found = None
    if keypoints is not None and is_case(keypoints):
        if not (keypoints / FILE).is_file():
            raise InputError(
                f"{keypoints} is a case without {FILE}: give --keypoints another case, or --models DIR in its place."
            )
        found, sources = read_keypoints(keypoints / FILE), sources_of(keypoints)
        if sources["reference"] != sha256(photo):
            found.reference = None
        if sources["driving"] != driving():
            warnings.append(
                f"{keypoints} was made from another driving source: its poses are taken frame by frame all the same; "
                "look at preview.mp4."
            )
    elif keypoints is not None:
        found = read_keypoints(keypoints)
    if reference is not None:
        return Given(found, read_photo_keypoints(reference))
    return Given(found, None if found is None else found.reference)
