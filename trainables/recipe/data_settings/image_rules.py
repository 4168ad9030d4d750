"""Rules between the settings of images: what a source does not have, and what is for volumes alone."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationInfo, field_validator

from trainables.core.config_errors import Config
from trainables.recipe.data_settings.image_settings import Background, Fit, GivenSpacing, PerChannel
from trainables.recipe.source_catalog import SPECIAL_KEYS, source_spec, sources_with


class ImageRules(Config):
    """Rules of the fields that say how images are decoded, made square and normalised; `DataConfig` has these fields."""

    @field_validator(*SPECIAL_KEYS, check_fields=False)
    @classmethod
    def _a_key_that_the_source_has(cls, value: Any, info: ValidationInfo) -> Any:
        key, source = info.field_name, info.data.get("source")
        assert key is not None
        if source is None or key in source_spec(source).supports or value == cls.model_fields[key].default:
            return value
        some = sources_with(key)
        if key == "depth":
            raise ValueError(f"source {source!r} cannot hold volumes, only {', '.join(some)} can; remove it")
        names = repr(some[0]) if len(some) == 1 else ", ".join(some)
        raise ValueError(f"applies only to source {names}, not to {source!r}; remove it")

    @field_validator("depth", check_fields=False)
    @classmethod
    def _no_frame_of_a_volume(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("channels") is not None:
            raise ValueError(f"{value}: volumes have the channels of their files; remove data.channels")
        if value is not None and info.data.get("frame") is not None:
            raise ValueError(
                f"{value}: a volume is read whole, but data.frame chooses one of its slices; remove one of the two"
            )
        return value

    @field_validator("channels", check_fields=False)
    @classmethod
    def _channels_of_images(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value == 3 and info.data.get("bits") == 16:
            raise ValueError("3: images of data.bits 16 are grey; keep one of the two")
        return value

    @field_validator("mean", "std", check_fields=False)
    @classmethod
    def _of_values_up_to_1(cls, value: PerChannel | None, info: ValidationInfo) -> PerChannel | None:
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        if any(number > 1 for number in numbers):
            raise ValueError(f"{value}: values are scaled to 0 … 1 first; divide mean and std by 255")
        if info.field_name == "std" and 0 in numbers:
            raise ValueError(f"{value}: must be above 0")
        return value

    @field_validator("spacing_mm", check_fields=False)
    @classmethod
    def _spacing_of_volumes(cls, value: GivenSpacing | None, info: ValidationInfo) -> GivenSpacing | None:
        if value is not None and info.data.get("depth", 0) is None:
            raise ValueError(
                "applies only to volumes; set data.depth to the slices that the network sees, or remove it"
            )
        return value

    @field_validator("background", check_fields=False)
    @classmethod
    def _background_of_volumes(cls, value: Background, info: ValidationInfo) -> Background:
        if value != "black" and info.data.get("depth", 0) is None:
            raise ValueError(f"{value!r} applies only to volumes (data.depth); remove it")
        return value

    @field_validator("fit", check_fields=False)
    @classmethod
    def _fit_of_volumes(cls, value: Fit, info: ValidationInfo) -> Fit:
        if value == "crop" or info.data.get("depth") is None or "spacing_mm" not in info.data:
            return value
        if info.data["spacing_mm"] is None:
            raise ValueError(
                f"{value!r} is for images, but a volume is resampled whole unless data.spacing_mm is set; remove it"
            )
        if value == "stretch":
            raise ValueError("'stretch' ignores the spacing; remove it, or data.spacing_mm")
        return value
