"""The studies, as arguments of ``ssfe compare``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

REGIONS = "ssfe:tap=layer4:transformation=regions"
DEEPER = "ssfe:tap=layer4.0,ssfe:tap=layer4.0:transformation=turns,ssfe:tap=layer3:views=sampled"
PACED = "plain:gradient_scale=0.25,discard:gradient_scale=0.25"
"""The classifier at the pace of joint rows, without joint labels: is it the pace that helps?"""
_VIEWS_ALONE = "discard:tap=layer4.0,discard:tap=layer4.0:gradient_scale=0.25"
"""The views of that tap with ordinary labels, from a classifier at a plain pace and at that of joint rows."""
_RIVALS = "discard,dropout,plain:gradient_scale=0.25"
"""Views without joint labels, plain dropout of the same features, and the pace alone."""
VARIANTS = "ssfe:identity,ssfe:transforms=2,ssfe:transforms=8,dropout"
DISTILLED = "ssfe:distill:inference=distilled"
"""One plain head beside the joint classifier, taught by the aggregate of all views, and shipped."""
FASTER = "plain:lr=0.1"
"""Plain training at twice its rate, for the loss of a distilled head is a second one on the same features: is it their
larger gradient that helps?"""
DISTILLED_FASTER = f"{DISTILLED}:lr=0.1"
"""The distilled head at that rate, too: is anything left of its gain where both have a higher one?"""
_FASTEST = "plain:lr=0.2"
"""Plain training at four times its rate: is twice its best?"""
_TAUGHT = "discard:distill"
"""A plain head taught by the same views with ordinary labels: do the joint labels matter?"""


@dataclass(frozen=True)
class Study:
    """A comparison, in one or more calls of ``ssfe compare`` that fill one folder.

    Attributes:
        name: of its folder under benchmarks/evidence/.
        title: data, network and schedule, for the tables.
        question: what it is to answer.
        hardware: what it needs.
        common: options of all calls.
        parts: (methods, seeds) of each call.
        before: commands to run once beforehand, and the path that each leaves.
        fresh: methods that looked promising on their first seeds, with the first of the seeds that were to test them
            alone, and then, where it is another, the first of all that were drawn after the lead was seen.
        controls: of such a method, named before they were run: what it would equal if its joint labels did nothing.
        copied: its cells of plain training and the default are those of another study, which is to be read for them.
    """

    name: str
    title: str
    question: str
    hardware: str
    common: Sequence[str]
    parts: Sequence[tuple[str, int]]
    before: Sequence[tuple[Sequence[str], str]] = ()
    fresh: Mapping[str, Sequence[int]] = field(default_factory=dict)
    controls: Mapping[str, Sequence[str]] = field(default_factory=dict)
    copied: bool = False

    @property
    def output(self) -> str:
        """Its folder, from the repository's root."""
        return f"benchmarks/evidence/{self.name}"

    @property
    def cells(self) -> set[tuple[str, int]]:
        """(method, seed) of every run, on each of its networks."""
        return {
            (method, seed) for methods, seeds in self.parts for method in methods.split(",") for seed in range(seeds)
        }

    @property
    def models(self) -> int:
        """How many networks."""
        return len(self.common[list(self.common).index("--models") + 1].split(","))

    def commands(self) -> list[list[str]]:
        """The calls, word by word."""
        return [
            ["ssfe", "compare", *self.common, "--methods", methods, "--seeds", str(seeds), "--output", self.output]
            for methods, seeds in self.parts
        ]


def _small_resnet18(*channels: int) -> list[str]:
    return ["--models", "small_stem", "--model-args", f'{{"base": "resnet18", "channels": {list(channels)}}}']


_CIFAR100 = ["benchmarks/data/cifar100"]
_HALF_32 = [
    *_CIFAR100,
    *_small_resnet18(32, 64, 128, 256),
    *["--limit-train", "10000", "--val-fraction", "0.1", "--epochs", "30", "--batch-size", "64", "--precision", "bf16"],
]
_HALF_16 = [*_HALF_32, "--image-size", "16"]
_QUARTER_16_OF = [
    *_CIFAR100,
    *_small_resnet18(16, 32, 64, 128),
    *["--image-size", "16", "--val-fraction", "0.02", "--limit-train"],
]
_QUARTER_16 = [*_QUARTER_16_OF, "10000"]
_FINE_TUNED = "benchmarks/data/cifar100-first-16px"
_FULL = [*_CIFAR100, "--epochs", "100", "--val-fraction", "0.04"]

_ALL = [
    Study(
        "cifar100-16px-long",
        "CIFAR-100 at 16 px, 100 images per class, quarter-width ResNet-18, 100 epochs of 128-image batches",
        "The network of the short training (there in float32), five times as long: is it the length of training that "
        "ssfe needs?",
        "two CPU cores",
        [*_QUARTER_16, "--epochs", "100", "--precision", "bf16", "--jobs", "2"],
        # The distilled head was declared, to be run on seeds 5 to 9 first, as the rivals were, when eight of its ten
        # seeds in cifar100-16px-search were a point and a half ahead.
        [("plain,ssfe", 10), (_RIVALS, 10), (DISTILLED, 10), ("ssfe:tap=layer4.0", 5)],
        fresh={"ssfe": (5, 2)},
        controls={"ssfe": _RIVALS.split(",")},
    ),
    Study(
        "cifar100-16px-few",
        "CIFAR-100 at 16 px, 20 images per class, quarter-width ResNet-18, 100 epochs of 64-image batches",
        "A second training from scratch in which plain training learns its images by heart, on a fifth of them, and in "
        "arithmetic that every CPU has: is the default ahead there too, and are its joint labels what helps? Declared "
        "before any cell was read: the first question is answered by top-1 on test images of all seeds, the second by "
        "the three rivals minus the default on the same seeds.",
        "two CPU cores",
        [*_QUARTER_16_OF, "2000", "--epochs", "100", "--batch-size", "64", "--precision", "fp32", "--jobs", "2"],
        [(f"plain,ssfe,{_RIVALS}", 10)],
        controls={"ssfe": _RIVALS.split(",")},
    ),
    Study(
        "cifar100-16px-finetune",
        "Fine-tuning on 50 classes of CIFAR-100 at 16 px, 20 images per class, after the other 50",
        "Most classifiers are not trained from scratch. Does ssfe help where the features are there already?",
        "two CPU cores",
        [
            *["benchmarks/data/cifar100-second", "--models", "small_stem", "--weights", _FINE_TUNED],
            *["--image-size", "16"],
            *["--limit-train", "1000", "--val-fraction", "0.04", "--epochs", "40", "--batch-size", "64"],
            *["--lr", "0.03", "--precision", "bf16", "--jobs", "2"],
        ],
        [("plain,ssfe", 10)],
        before=[
            (["python", "-m", "benchmarks.halves"], "benchmarks/data/cifar100-second"),
            (
                [
                    *["ssfe", "train", "benchmarks/data/cifar100-first", "--method", "plain"],
                    *[part.replace("--models", "--model") for part in _small_resnet18(32, 64, 128, 256)],
                    *["--image-size", "16", "--val-fraction", "0.04", "--epochs", "30", "--batch-size", "64"],
                    *["--precision", "bf16", "--output", _FINE_TUNED],
                ],
                f"{_FINE_TUNED}/model.json",
            ),
        ],
    ),
    Study(
        "cifar100-16px",
        "CIFAR-100 at 16 px, 100 images per class, half-width ResNet-18, 30 epochs of 64-image batches",
        "Does ssfe beat plain training, with channels or with regions missing, and which part of it does: the views, "
        "the pretext task, the joint labels, or the pace of the classifier? At which pace must its rows learn? How "
        "many views, and an identity view among them or not? What does a deeper tap give for its price?",
        "two CPU cores",
        [*_HALF_16, "--jobs", "2"],
        [
            ("plain,ssfe", 10),
            (f"ssfe:gradient_scale=4,{REGIONS}:gradient_scale=5", 3),
            (f"{REGIONS},discard,multitask,{VARIANTS}", 3),
            (PACED, 3),
            ("sla", 3),
            (DEEPER, 3),
            ("ssfe:tap=layer4.0", 10),
            (_VIEWS_ALONE, 10),
        ],
        fresh={"ssfe": (5,), "ssfe:tap=layer4.0": (3,)},
        controls={"ssfe:tap=layer4.0": _VIEWS_ALONE.split(",")},
    ),
    Study(
        "cifar100-16px-search",
        "CIFAR-100 at 16 px as above: what else the default could be",
        "Other schemes of discarding, one head taught by all views, and ssfe on top of SLA at equal epochs. The cells "
        "of plain, ssfe and sla are copies of those of cifar100-16px, whose settings are the same.",
        "two CPU cores",
        [*_HALF_16, "--jobs", "2"],
        # Ten seeds of the distilled head were declared when its first two were a point and a half ahead, its controls
        # when four and eight had been run. The distilled head at twice its rate was declared when plain training at
        # that rate was nearly a point ahead on each of six seeds; it is to be set against that, seeds 5 to 9 first.
        # When two of them were a point and a half ahead of it, its own controls were declared, on ten seeds each: plain
        # training at four times the rate, and the same two heads with ordinary labels at twice.
        [
            ("plain,ssfe", 10),
            ("sla", 3),
            ("ssfe:scheme=keep_group,ssfe:scheme=drop_fraction", 3),
            (DISTILLED, 10),
            (f"{FASTER},{_TAUGHT},{DISTILLED_FASTER},{_FASTEST},{_TAUGHT}:lr=0.1", 10),
            ("ssfe+sla", 3),
        ],
        fresh={DISTILLED: (2,)},
        controls={
            DISTILLED: [FASTER, _TAUGHT],
            DISTILLED_FASTER: [FASTER, _FASTEST, f"{_TAUGHT}:lr=0.1"],
            "ssfe+sla": ["sla"],
        },
        copied=True,
    ),
    Study(
        "cifar100-32px",
        "CIFAR-100 at 32 px, 100 images per class, half-width ResNet-18, 30 epochs of 64-image batches",
        "The same questions on images of full size.",
        "a GPU, or two CPU cores for a day",
        [*_HALF_32, "--jobs", "2"],
        [("plain,ssfe", 5), (f"discard,{PACED},multitask,{VARIANTS},sla,{REGIONS}", 3)],
    ),
    Study(
        "cifar100-32px-cpu",
        "CIFAR-100 at 32 px as above, on two CPU cores",
        "As far as the same study went before a GPU was at hand: do other arithmetic and other roundings say the same? "
        "And is the tap before the last block ahead at 32 px too?",
        "two CPU cores",
        [*_HALF_32, "--jobs", "2"],
        [("plain,ssfe", 5), ("discard", 2), ("dropout", 3), ("ssfe:tap=layer4.0", 5)],
    ),
    Study(
        "fashion-mnist-2000",
        "Fashion-MNIST, 200 images per class, cifar_resnet20, 40 epochs of 64-image batches",
        "Many cheap seeds on few images, and a classifier of only 64 channels.",
        "two CPU cores",
        [
            *["fashion-mnist", "--models", "cifar_resnet20", "--limit-train", "2000", "--val-fraction", "0.02"],
            *["--epochs", "40", "--batch-size", "64", "--precision", "bf16", "--jobs", "2"],
        ],
        [
            ("plain,ssfe", 10),
            ("ssfe:gradient_scale=4,ssfe:transformation=regions:gradient_scale=5,discard", 3),
            ("ssfe:transformation=regions", 3),
            ("ssfe:tap=layer3.1", 10),
            # Declared when the distilled head was ahead in cifar100-16px-search.
            (DISTILLED, 10),
        ],
    ),
    Study(
        "fashion-mnist",
        "Fashion-MNIST, all 60,000 images (54,000 to train on), cifar_resnet20, 5 epochs",
        "Grey images, few classes, enough data.",
        "two CPU cores, for some hours",
        ["fashion-mnist", "--models", "cifar_resnet20", "--epochs", "5", "--precision", "fp32", "--jobs", "2"],
        [("plain,ssfe,sla", 3)],
    ),
    Study(
        "cifar100-16px-short",
        "CIFAR-100 at 16 px, 100 images per class, quarter-width ResNet-18, 20 epochs of 128-image batches",
        "A small network in a training so short that it underfits.",
        "two CPU cores",
        [*_QUARTER_16, "--epochs", "20", "--jobs", "2"],
        [("plain,ssfe", 3)],
    ),
    Study(
        "cifar100-16px-time",
        "CIFAR-100 at 16 px at equal time: the training time of 30 epochs of plain training for every method",
        "SLA turns each image four times and pays for it in epochs. What is left of its gain at equal time, and does "
        "ssfe add to it?",
        "two CPU cores",
        [*_HALF_16, "--budget", "time", "--jobs", "2"],
        [("plain,sla", 3), ("ssfe+sla", 3), ("sla:gradient_scale=4,sla:distill", 3), ("ssfe:tap=layer4.0", 3)],
    ),
    Study(
        "cifar100-full",
        "CIFAR-100, all images, ResNet-18 with a small stem and wrn_16_4, 100 epochs",
        "The setting of the literature.",
        "a GPU",
        [*_FULL, "--models", "resnet18,wrn_16_4"],
        [("plain,ssfe,ssfe:transformation=regions,sla,multitask,discard", 5)],
    ),
    Study(
        "cifar100-cutmix",
        "CIFAR-100, all images, ResNet-18 with a small stem, 100 epochs with CutMix",
        "Does the gain add to that of a strong augmentation?",
        "a GPU",
        [*_FULL, "--models", "resnet18", "--cutmix", "1.0"],
        [("plain,ssfe,ssfe:transformation=regions", 5)],
    ),
    Study(
        "cifar100-trivialaugment",
        "CIFAR-100, all images, ResNet-18 with a small stem, 100 epochs with TrivialAugment",
        "Does the gain add to that of a strong augmentation?",
        "a GPU",
        [*_FULL, "--models", "resnet18", "--augment", "trivialaugment"],
        [("plain,ssfe,ssfe:transformation=regions", 5)],
    ),
]
STUDIES = {study.name: study for study in _ALL}
