"""Regularization techniques: C kernels under a thin NumPy API. The public names; needs NumPy alone."""

from fastopt.regularization.augmentation import (
    Compose,
    Cutout,
    Jitter,
    RandomAffine,
    RandomBrightnessContrast,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    Scaling,
    Transform,
    WindowShift,
)
from fastopt.regularization.batch_norm import BatchNorm, batch_norm
from fastopt.regularization.dropout import (
    Dropout,
    GaussianDropout,
    SpatialDropout,
    StochasticDepth,
    dropout,
    dropout_bits,
)
from fastopt.regularization.early_stopping import EarlyStopping
from fastopt.regularization.labels import Mix, MixupCutmix, cross_entropy, cutmix, mixup, smooth_labels
from fastopt.regularization.layer import Layer, draw_key
from fastopt.regularization.noise import GaussianNoise, GradientNoise, add_noise, multiply_noise, perturbed
from fastopt.regularization.norm_penalty import add_norm_penalty_, is_vector, max_norm_, norm_penalty, penalty_groups

__all__ = [
    "BatchNorm",
    "Compose",
    "Cutout",
    "Dropout",
    "EarlyStopping",
    "GaussianDropout",
    "GaussianNoise",
    "GradientNoise",
    "Jitter",
    "Layer",
    "Mix",
    "MixupCutmix",
    "RandomAffine",
    "RandomBrightnessContrast",
    "RandomCrop",
    "RandomErasing",
    "RandomFlip",
    "Scaling",
    "SpatialDropout",
    "StochasticDepth",
    "Transform",
    "WindowShift",
    "add_noise",
    "add_norm_penalty_",
    "batch_norm",
    "cross_entropy",
    "cutmix",
    "draw_key",
    "dropout",
    "dropout_bits",
    "is_vector",
    "max_norm_",
    "mixup",
    "multiply_noise",
    "norm_penalty",
    "penalty_groups",
    "perturbed",
    "smooth_labels",
]
