from config.data import AugmentationConfig
from config.data import PictureData as ImageDataConfig
from config.schema import Config as ImageNetConfig
from config.schema import EvaluationConfig as ImageEvaluationConfig

__all__ = ["AugmentationConfig", "ImageDataConfig", "ImageEvaluationConfig", "ImageNetConfig"]
