"""Choosing an emotion model: the rules, a plug-in, a checkpoint, or public models."""

from __future__ import annotations

import re
from pathlib import Path

from streamser.emotion.compact.model import is_bundle
from streamser.emotion.hub_models.registry import is_hub_model, nearest_hub_model
from streamser.emotion.model import BoundedModel, EmotionModel, PredictorModel
from streamser.errors import ConfigError, ModelError, first_line
from streamser.plugins import EMOTION_MODELS, check_made, find_plugin, installed, make, near
from streamser.settings import EmotionSettings

RULES = "rules"

_BUNDLED = Path(__file__).parents[1] / "assets" / "models"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


def choose_model(
    settings: EmotionSettings, *, offline: bool = False, before: bool = False
) -> EmotionModel:
    """Load the emotion model that the settings ask for; with ``remote``, one that asks there too.

    Raises ``ConfigError`` for a name that no model has and an address that is none, ``ModelError``
    for a checkpoint that cannot be had or used, also where torch is not installed, and where
    something else is at the address, unless these models were loaded here ``before``.
    """
    local = _choose_local(settings, offline)
    if settings.remote is None:
        return local
    from streamser.emotion.remote.model import connect_remote

    return connect_remote(settings, local, before=before)


def _choose_local(settings: EmotionSettings, offline: bool) -> EmotionModel:
    name = settings.model
    if name == RULES:
        from streamser.emotion.rules import RulesModel

        return RulesModel()
    if is_hub_model(name):
        try:
            from streamser.emotion.hub_models.model import load_hub_models

            return load_hub_models(settings, offline=offline)
        except (ImportError, OSError) as error:  # torch without its libraries is an OSError
            raise _lacking(name, error) from error
    if not comes_with_us(name) and find_plugin(EMOTION_MODELS, name) is not None:
        return _plugged(settings, offline)
    where = str(_BUNDLED / name) if name in model_names() else name
    check_checkpoint_name(where)
    directory = Path(where).expanduser()
    if is_bundle(directory):
        from streamser.emotion.compact.model import load_compact

        return load_compact(directory, directory.resolve().name)
    try:
        from streamser.emotion.fused.model import load_fused
    except (ImportError, OSError) as error:  # torch without its libraries is an OSError
        raise _lacking(name, error) from error
    try:
        return load_fused(
            where,
            device=settings.device,
            precision=settings.precision,
            threads=settings.threads,
            offline=offline,
        )
    except ImportError as error:  # transformers and peft come in only where a model needs them
        raise _lacking(name, error) from error


def bundle_directory(name: str) -> Path | None:
    """Return the folder of the bundled model of a name, or in that place; ``None``: it is none."""
    directory = _BUNDLED / name if name in model_names() else Path(name).expanduser()
    return directory if is_bundle(directory) else None


def check_model_name(name: str) -> None:
    """Raise ``ConfigError`` for what can be no model of any kind; loads nothing."""
    if not comes_with_us(name) and find_plugin(EMOTION_MODELS, name) is None:
        check_checkpoint_name(name)


def check_checkpoint_name(name: str) -> None:
    """Raise ``ConfigError`` for what can be no checkpoint, here or on the hub; asks no network."""
    if _may_be_checkpoint(name):
        return
    names = [*model_names(), *(plugin.name for plugin in installed(EMOTION_MODELS))]
    hint = nearest_hub_model(name) or near(name, names)
    raise ConfigError(
        f"no emotion model is called {name!r}: there are {', '.join(names)}, the"
        " directory of any checkpoint, names on the hub such as owner/name, and what"
        f" `streamser models` lists{f'; {hint}' if hint else '.'}"
    )


def model_names() -> list[str]:
    """List the models that come with the program, by the names that the settings know."""
    packed = _BUNDLED.iterdir() if _BUNDLED.is_dir() else ()
    return [RULES, *sorted(path.name for path in packed if (path / "config.json").is_file())]


def comes_with_us(name: str) -> bool:
    """Tell whether a name is that of a model of the program, or of public ones that it knows."""
    return is_hub_model(name) or name in model_names()


def loads_slowly(name: str) -> bool:
    """Tell whether a name is that of a checkpoint or of public models: people wait for those."""
    if is_hub_model(name):
        return True
    known = comes_with_us(name) or find_plugin(EMOTION_MODELS, name) is not None
    return not known and _may_be_checkpoint(name) and not is_bundle(Path(name).expanduser())


def _plugged(settings: EmotionSettings, offline: bool) -> EmotionModel:
    name = settings.model
    model = make(EMOTION_MODELS, name, settings, offline=offline)
    named = {"name": str, "modalities": tuple}
    if hasattr(model, "predict") and not hasattr(model, "extract"):
        check_made(EMOTION_MODELS, name, model, {**named, "predict": None})
        return BoundedModel(PredictorModel(model), "predict")
    wanted = {**named, "extract": None, "forget": None, "new_speaker": None}
    check_made(EMOTION_MODELS, name, model, wanted)
    return BoundedModel(model)


def _lacking(name: str, error: Exception) -> ModelError:
    return ModelError(
        f"the emotion model {name} needs what is not installed ({first_line(error)}): run"
        f" pip install 'streamser[torch]', or choose the model {RULES}."
    )


def _may_be_checkpoint(where: str) -> bool:
    """Tell whether there is something of that name on the disk, or can be one on the hub."""
    try:
        return Path(where).expanduser().exists() or _HUB_NAME.fullmatch(where) is not None
    except (OSError, RuntimeError, ValueError):  # too long; nobody's home; a NUL in it
        return False
