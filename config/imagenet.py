from config.data import AugmentationConfig, PictureData as ImageDataConfig
from config.schema import Config as ImageNetConfig, EvaluationConfig as ImageEvaluationConfig

__all__ = ["AugmentationConfig", "ImageDataConfig", "ImageEvaluationConfig", "ImageNetConfig"]
