"""A model is a network and its card, in one file that describes itself.

Nothing here loads torch before a model's weights are asked for.
"""

from napari_feedback_seg.models.library import (
    DEFAULT_MODEL,
    ModelEntry,
    find_model,
    list_models,
    load_model,
    models_folder,
    save_to_library,
)
from napari_feedback_seg.models.model import Model, ModelCard
from napari_feedback_seg.models.model_file import (
    FORMAT_VERSION,
    import_state_dict,
    load_model_file,
    read_card,
    save_model,
)

__all__ = [
    "DEFAULT_MODEL",
    "FORMAT_VERSION",
    "Model",
    "ModelCard",
    "ModelEntry",
    "find_model",
    "import_state_dict",
    "list_models",
    "load_model",
    "load_model_file",
    "models_folder",
    "read_card",
    "save_model",
    "save_to_library",
]
