"""Images: where they come from, how they are split, and how one becomes the network's input."""

from ssfe.lab.data.crops import CropFlip
from ssfe.lab.data.load import TestImages, data_folder, load_data, load_run_test, load_test, names
from ssfe.lab.data.preprocessing import Preprocessing, preprocessing_for
from ssfe.lab.data.splits import ArrayImages, DataSplits, FileImages, HubImages, ImageSplit, TorchvisionImages
from ssfe.lab.data.transforms import batch_transform, crop_flip, train_transform

__all__ = [
    "ArrayImages",
    "CropFlip",
    "DataSplits",
    "FileImages",
    "HubImages",
    "ImageSplit",
    "Preprocessing",
    "TestImages",
    "TorchvisionImages",
    "batch_transform",
    "crop_flip",
    "data_folder",
    "load_data",
    "load_run_test",
    "load_test",
    "names",
    "preprocessing_for",
    "train_transform",
]
