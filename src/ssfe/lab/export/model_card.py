"""The model card, README.md of a Hugging Face model folder, from the run's result.json and config.yaml."""

from __future__ import annotations

import json
from typing import Any

import timm

from ssfe.lab.config import TrainOptions
from ssfe.lab.errors import UserError
from ssfe.lab.export.shipment import Shipment, steps
from ssfe.lab.methods import make_method
from ssfe.lab.run.typed import public_name, typed_options

_HEADER = """---
library_name: timm
pipeline_tag: image-classification
tags:
- image-classification
- timm
- ssfe
# license: yours to choose; mind the terms of the training images and of pretrained weights
---
"""

_CITATION = """```bibtex
@misc{xie2021ssfe,
  title = {Self-Supervised Feature Enhancement: Applying Internal Pretext Task to Supervised Learning},
  author = {Xie, Tianshu and Yang, Yuhang and Ding, Zilin and Cheng, Xuan and Wang, Xiaomin and Gong, Haigang and
    Liu, Ming},
  year = {2021},
  eprint = {2106.04921},
  archivePrefix = {arXiv},
  note = {IEEE Access, doi 10.1109/ACCESS.2022.3233104}
}
```"""


def model_card(shipment: Shipment) -> str:
    """The card as Markdown. What result.json or config.yaml would tell is left out where the run has none."""
    result = shipment.folder.read_result() if shipment.folder.result.exists() else None
    try:
        options = shipment.folder.read_options()
    except UserError:
        options = None
    name = shipment.card.spec.kwargs.get("base", shipment.card.spec.name)
    title = f"# {name}, trained on {public_name(options.data)}" if options else f"# {name}"
    parts = [title, _model(shipment), _results(result), _training(shipment, options, result), _use(shipment)]
    parts.append(f"## Citation\n\nThe method (this model is not the paper's, nor are its numbers):\n\n{_CITATION}")
    return _HEADER + "\n\n".join(part for part in parts if part) + "\n"


def training_command(options: TrainOptions) -> str:
    """The command that trains the same model again; every option that is not at its default."""
    given = options.to_flat()
    for name in ("data", "weights"):
        given[name] = given[name] and public_name(given[name])
    return " ".join(["ssfe train", *typed_options(given, without={"data_dir", "accelerator"})])


def _model(shipment: Shipment) -> str:
    card = shipment.card
    count = sum(parameter.numel() for parameter in shipment.network.parameters())
    channels, size, _ = shipment.image_shape
    rows = {
        "architecture": f"`{json.dumps(card.to_dict()['create_model'], ensure_ascii=False)}`, arguments of "
        "`timm.create_model`",
        "parameters": f"{count:,}",
        "input": f"normalised float images (batch, {channels}, {size}, {size})",
        "preprocessing": "; ".join(steps(card.preprocessing)),
        "output": f"logits (batch, {len(card.classes)}); class names in `config.json`, `label_names`",
    }
    return _table(rows)


def _results(result: dict[str, Any] | None) -> str:
    if result is None:
        return "## Results\n\nNone are recorded for this model."
    metrics = result["test"]["shipped"]
    images = result["data"]["images"]
    top5 = f"{metrics['top5']:.1%}" if "top5" in metrics else "-"
    return (
        f"## Results\n\nOne run (seed {result['seed']}), measured on {images['test']:,} test images kept out of "
        "training:\n\n"
        "| top-1 | top-5 | NLL | ECE |\n|---|---|---|---|\n"
        f"| {metrics['top1']:.1%} | {top5} | {metrics['nll']:.3f} | {metrics['ece']:.3f} |"
    )


def _training(shipment: Shipment, options: TrainOptions | None, result: dict[str, Any] | None) -> str:
    card = shipment.card
    rows = {"method": card.method, "shipped inference": card.inference}
    if options:
        summary = make_method(options.method, options.enhancement, options.augmentation).summary
        rows["method"] = f"{card.method} ({summary.removeprefix(f'{card.method}: ')})"
        rows["data"] = public_name(options.data)
    if result:
        images, machine = result["data"]["images"], result["machine"]
        rows["images"] = f"{images['train']:,} for training, {images['val']:,} for validation"
        rows |= {"epochs": result["epochs"], "seed": result["seed"]}
        rows["machine"] = f"{machine['device']}, {machine['precision']}, {result['seconds']:.0f} s"
        rows["versions"] = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    command = f"\n\n```bash\n{training_command(options)}\n```" if options else ""
    text = (
        "Trained with [Self-supervised Feature Enhancement](https://arxiv.org/abs/2106.04921): the network learned "
        "joint labels of class and missing channels, and the joint classifier was folded into this stock one.\n\n"
    )
    return f"## Training\n\n{text if card.method == 'ssfe' else ''}{_table(rows)}{command}"


def _use(shipment: Shipment) -> str:
    card = shipment.card
    ours = timm.models.model_entrypoint(card.spec.name.partition(".")[0]).__module__.startswith("ssfe.")
    mode = "L" if card.preprocessing.channels == 1 else "RGB"
    registers = "import ssfe.lab.models  # this architecture is ssfe's, not timm's\n" if ours else ""
    return f"""## Use

```python
import timm
import torch
from PIL import Image, ImageOps
{registers}
name = "local-dir:."  # this folder, or "hf-hub:USER/NAME" once uploaded
network = timm.create_model(name, pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
image = ImageOps.exif_transpose(Image.open("image.png")).convert("{mode}")
with torch.no_grad():
    probabilities = network(transform(image)[None]).softmax(-1)[0]
print(network.pretrained_cfg["label_names"][probabilities.argmax()], probabilities.max())
```"""


def _table(rows: dict[str, Any]) -> str:
    cells = [f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *cells])
