"""What a study is: a file in TOML, read as a validated value."""

from lrsearch.spec.sections import ConfirmSection
from lrsearch.spec.spec import StudySpec

__all__ = ["ConfirmSection", "StudySpec"]
