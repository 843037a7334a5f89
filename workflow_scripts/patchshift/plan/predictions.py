"""What rules `export_model` and `predict_images` ask of a study.

Tested in tests/app/test_export.py.
"""

from pathlib import Path

from patchshift.errors import UserError
from patchshift.plan.fingerprints import digest_folder
from patchshift.plan.study import Study


def export_spec(study: Study, backbone: str) -> str:
    """A backbone with the addresses of its weights: what an exported model says of it."""
    return study.catalog.backbones[backbone].canonical(exclude={"threads", "shards"})


def predicted_folder(study: Study) -> Path:
    """The folder of the images that `predict_on` names.

    Raises:
        UserError: if the study names none, or it is not there.
    """
    name = study.config.predict_on
    if name is None:
        raise UserError(
            "predict_on: the study names no folder of images to predict: set it to a folder under data_dir, or use "
            "`patchshift predict` (docs/predict.md)"
        )
    folder = Path(study.config.data_dir, name)
    if not folder.is_dir():
        raise UserError(f"predict_on: {folder} is not a folder: bring the images there")
    return folder


def predicted_fingerprint(study: Study) -> str:
    """12 hex digits that change when a file of that folder comes, goes, is renamed or is written anew."""
    return digest_folder(predicted_folder(study))
