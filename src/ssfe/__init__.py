"""ssfe: Self-supervised Feature Enhancement (arXiv 2106.04921) for image classifiers in PyTorch."""

from ssfe.core.classifier.joint_classifier import JointClassifier
from ssfe.core.classifier.optimizer import check_optimizer
from ssfe.core.cost import Cost, MethodCost, cost
from ssfe.core.enhance import enhance
from ssfe.core.enhanced import joint_evaluation
from ssfe.core.fold import fold
from ssfe.core.labels.joint import JointLogits, joint_cross_entropy, joint_targets
from ssfe.core.labels.lazy import LazyJointLogits, class_logits
from ssfe.core.labels.loss import JointLoss
from ssfe.core.transformations.base import FeatureShape, Transformation
from ssfe.core.transformations.channels import ChannelDiscard
from ssfe.core.transformations.regions import RegionDiscard
from ssfe.core.transformations.turns import QuarterTurns

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
