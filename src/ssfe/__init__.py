"""ssfe: Self-supervised Feature Enhancement (arXiv 2106.04921) for image classifiers in PyTorch."""

from ssfe.classifier import JointClassifier
from ssfe.cost import Cost, MethodCost, cost
from ssfe.discard import ChannelDiscard
from ssfe.enhance import enhance, fold, joint_evaluation
from ssfe.joint import JointLogits, joint_cross_entropy, joint_targets
from ssfe.lazy import LazyJointLogits, class_logits
from ssfe.loss import JointLoss
from ssfe.optimizer import check_optimizer
from ssfe.region import RegionDiscard
from ssfe.transformation import FeatureShape, Transformation
from ssfe.turns import QuarterTurns

__version__ = "0.1.0"

__all__ = [
    "ChannelDiscard",
    "Cost",
    "FeatureShape",
    "JointClassifier",
    "JointLogits",
    "JointLoss",
    "LazyJointLogits",
    "MethodCost",
    "QuarterTurns",
    "RegionDiscard",
    "Transformation",
    "check_optimizer",
    "class_logits",
    "cost",
    "enhance",
    "fold",
    "joint_cross_entropy",
    "joint_evaluation",
    "joint_targets",
]
