"""Every option of a training run, as typed dataclasses: one definition gives flags, YAML and --help.

The docstrings below the attributes are what ``ssfe train --help`` prints. On the command line and in YAML all groups
share one flat namespace, so field names are unique across them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from ssfe.core.classifier.joint_classifier import Inference, Views
from ssfe.core.transformations.channels import Groups, Scheme

MethodName = Literal["ssfe", "plain", "discard", "multitask", "dropout", "sla", "ssfe+sla"]


@dataclass(frozen=True)
class DataOptions:
    """Data"""

    data_dir: Path | None = None
    """Where named datasets are looked for first and downloaded to. Default: $SSFE_DATA, else ~/.cache/ssfe/data."""
    image_size: int | None = None
    """Side of the square input, in pixels. Default: the images' own size up to 64 pixels, else 224, or the
    pretrained weights' own."""
    val_fraction: float = 0.1
    """Share of the training images held out for validation, unless the data brings a validation and a test split. A
    validation split without a test split is the test data."""
    limit_train: int | None = None
    """Train on this many images only, class-balanced and drawn with the seed."""
    limit_test: int | None = None
    """Test on this many images only, class-balanced, the same in every run."""
    batch_size: int = 128
    """Images per training step. The log also reports views per second."""
    workers: int | None = None
    """Processes that load images. Default: none for images held in memory, else one per core, up to 8."""


@dataclass(frozen=True)
class AugmentOptions:
    """Augmentation"""

    crop: bool = True
    """Random crops: padded ones for images of up to 64 pixels, resized ones above."""
    flip: bool | None = None
    """Random horizontal flips. Default: on, except for digits, letters and signs."""
    augment: Literal["none", "randaugment", "trivialaugment"] = "none"
    """An automatic augmentation policy of torchvision, on top of crops and flips."""
    random_erasing: float = 0.0
    """Probability that a rectangle of the image is erased."""
    mixup: float = 0.0
    """Alpha of MixUp; 0 switches it off. With cutmix as well, each batch draws one of the two."""
    cutmix: float = 0.0
    """Alpha of CutMix; 0 switches it off."""
    label_smoothing: float = 0.0
    """Share of the label's probability spread evenly over all classes."""


@dataclass(frozen=True)
class OptimizerOptions:
    """Optimization"""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with Nesterov momentum, or AdamW."""
    lr: float | None = None
    """Peak learning rate. Default: 0.1 per 128 images of a step for sgd, 0.001 for adamw; a tenth of that with
    pretrained or weights."""
    momentum: float = 0.9
    """Momentum of sgd."""
    weight_decay: float | None = None
    """Weight decay; biases and norm layers have none. Default: 0.0005 for sgd, 0.05 for adamw."""
    warmup_epochs: float = 1.0
    """Epochs of linear warm-up before the cosine decay to zero, a fifth of the run at most."""
    clip_grad: float | None = None
    """Clip the gradient to this norm."""
    ema: float = 0.0
    """Decay of an exponential moving average of the weights, which is then evaluated and shipped; after n steps it is
    (1 + n) / (10 + n) at most. 0 switches it off."""


@dataclass(frozen=True)
class MethodOptions:
    """Self-supervised feature enhancement, and what other methods share with it"""

    transforms: int | None = None
    """M: how many transformations of the features, the views, the network learns to tell apart. Default: 4; for regions
    5, a grid of 2 x 2 and the identity view."""
    scheme: Scheme = "drop_group"
    """What a view discards: one channel group, all groups but one, or a random share of the channels."""
    groups: Groups = "contiguous"
    """How channels are dealt into groups."""
    fraction: float = 0.5
    """Share of channels that a view of scheme drop_fraction discards."""
    identity: bool | None = None
    """Make the first view the undisturbed features. Default: only at a deeper tap, and for regions."""
    tap: str | None = None
    """The module of the network whose output is disturbed; ssfe taps MODEL lists them. Default: the classifier's
    input; for regions the last map before it."""
    transformation: Literal["channels", "regions", "turns"] = "channels"
    """What a view disturbs: it lacks channels, lacks one of a grid of regions, or is turned by quarters. Turns need a
    tap that gives square maps."""
    views: Views = "all"
    """Train on all M views of an image in each step, or on one drawn at random."""
    inference: Inference | None = None
    """The reading that is folded into the shipped model. Default: distilled with --distill, else aggregated; single at
    a deeper tap and for regions, where aggregated does not fold."""
    distill: bool = False
    """Also train a plain head, distilled from the aggregated prediction, and ship it."""
    gradient_scale: float = 1.0
    """Factor on the gradients of the classifier's rows. Under sgd, M makes joint rows learn as fast as a plain
    classifier, and 1/M makes a plain classifier learn as slowly as joint rows."""


@dataclass(frozen=True)
class EngineOptions:
    """Machine"""

    accelerator: str = "auto"
    """Lightning's accelerator: auto, cpu, cuda, mps, ..."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the network. auto: bfloat16 on devices that have it in hardware, else float32."""
    channels_last: bool = True
    """Keep images and convolutions in channels_last memory format."""
    compile: bool = False
    """Compile the network with torch.compile."""
    progress: Literal["auto", "bar", "lines", "none"] = "auto"
    """A progress bar beside the line per epoch, only the lines, or neither. auto: the bar on a terminal."""
    logger: Literal["none", "tensorboard", "wandb"] = "none"
    """Where the numbers of metrics.csv go besides: TensorBoard's files in the run folder, or Weights & Biases."""


GROUPS: dict[str, type] = {
    "loading": DataOptions,
    "augmentation": AugmentOptions,
    "optimization": OptimizerOptions,
    "enhancement": MethodOptions,
    "engine": EngineOptions,
}
"""The option groups of :class:`TrainOptions`, by the field that holds each."""


@dataclass(frozen=True)
class TrainOptions:
    """Run"""

    data: str = "digits"
    """digits, a torchvision dataset's name such as cifar100, a folder of images per class, hf:NAME[:CONFIG] of Hugging
    Face, hf:FOLDER of parquet files or WebDataset shards, or hf:FILE.parquet."""
    model: str | None = None
    """Any timm network, cifar_resnet20/32/56/110 or wrn_16_4/28_10. For images of up to 64 pixels a timm network gets a
    stem for small images, or smaller patches. Default: cifar_resnet20 up to 64 pixels, else resnet18."""
    model_args: dict[str, Any] = field(default_factory=dict)
    """More arguments of the network's constructor, such as {"drop_path_rate": 0.1}."""
    pretrained: bool = False
    """Start from timm's pretrained weights."""
    weights: Path | None = None
    """Start from these weights: the folder of an earlier run, or its export as safetensors or hf, whose network, image
    size and normalisation are then the defaults; or your own file for MODEL, safetensors or torch's, normalised as
    timm's. A classifier of other classes, or of another number of them, starts afresh."""
    method: MethodName = "ssfe"
    """ssfe: self-supervised feature enhancement. plain: ordinary training, the baseline. discard, multitask, dropout:
    ablations of ssfe. sla: rotated images, at four times the cost. ssfe+sla: both."""
    epochs: int = 30
    """Passes over the training images."""
    seed: int = 0
    """Of the initial weights, the order of images, augmentation and the validation split."""
    loading: DataOptions = field(default_factory=DataOptions)
    augmentation: AugmentOptions = field(default_factory=AugmentOptions)
    optimization: OptimizerOptions = field(default_factory=OptimizerOptions)
    enhancement: MethodOptions = field(default_factory=MethodOptions)
    engine: EngineOptions = field(default_factory=EngineOptions)

    def to_flat(self) -> dict[str, Any]:
        """All options in one namespace, of YAML's own types: the content of a run's ``config.yaml``."""
        nested = asdict(self)
        flat = {name: value for name, value in nested.items() if name not in GROUPS}
        for group in GROUPS:
            flat |= nested[group]
        return {name: str(value) if isinstance(value, Path) else value for name, value in flat.items()}

    @classmethod
    def from_flat(cls, flat: dict[str, Any]) -> TrainOptions:
        """The inverse of :meth:`to_flat`. Keys that are no options are ignored."""
        flat = {**flat, **{name: Path(flat[name]) for name in ("data_dir", "weights") if flat.get(name) is not None}}
        groups = {name: kind(**_own(kind, flat)) for name, kind in GROUPS.items()}
        return cls(**_own(cls, flat), **groups)


def _own(kind: type, flat: dict[str, Any]) -> dict[str, Any]:
    return {item.name: flat[item.name] for item in fields(kind) if item.name in flat and item.name not in GROUPS}
