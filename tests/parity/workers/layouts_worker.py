"""Checkpoints as public libraries write them: their own networks, saved by their own code where they have any.

Each entry of LAYOUTS makes one: what is saved, and the network (or the body) whose answers it must have.
"""

from __future__ import annotations

import argparse
import copy
import sys
import types
import warnings
from functools import partial

import torch
from common import Draw, images, main, refuse, save_io
from torch import nn
from torch_common import define_torchvision_operators, fill

warnings.simplefilter("ignore")
operators = define_torchvision_operators()

import timm  # noqa: E402
import torchvision  # noqa: E402

Namespace = argparse.Namespace


def filled(model, name):
    return fill(model, Draw(name), lambda layer: False)


def vision(name, **options):
    """A network of torchvision."""
    return filled(getattr(torchvision.models, name)(weights=None, **options), name)


def body(model):
    """Without the last layer, and what it gives is flat."""
    return nn.Sequential(*list(model.children())[:-1], nn.Flatten())


def nothing(model):
    """With an identity for a head."""
    model.fc = nn.Identity()
    return model


def prefixed(before, model):
    return {f"{before}{name}": tensor for name, tensor in model.state_dict().items()}


# torchvision, and what people do with it.


def reference_script():
    model = vision("resnet50")
    optimiser = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    args = Namespace(model="resnet50", val_crop_size=224, val_resize_size=256)
    rest = {"optimizer": optimiser.state_dict(), "lr_scheduler": {"last_epoch": 3}, "epoch": 3, "args": args}
    return {"model": model.state_dict(), **rest}, model


def data_parallel():
    model = vision("resnet18")
    average = torch.optim.swa_utils.AveragedModel(model)
    return {"model": nn.DataParallel(model).state_dict(), "model_ema": average.state_dict()}, model


def detector():
    built = torchvision.models.detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    model = filled(built, "detector")
    last = nn.Sequential(model.backbone.body.eval(), Last("3"), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return model.state_dict(), last


class Last(nn.Module):
    """One of the results by its name."""

    def __init__(self, name):
        super().__init__()
        self.name = name

    def forward(self, found):
        return found[self.name]


def children():
    model = body(vision("resnet18"))
    return model.state_dict(), model


def dropout_head():
    model = vision("resnet18")
    model.fc = nn.Sequential(nn.Dropout(0.3), nn.Linear(512, 7))
    return {"model_state_dict": filled(model, "dropout").state_dict(), "epoch": 3}, model


def grey():
    model = vision("resnet50", num_classes=18)
    model.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    return filled(model, "grey").state_dict(), model


def moco():
    """The names of MoCo's published checkpoints (facebookresearch/moco)."""
    query = vision("resnet50", num_classes=128)
    query.fc = nn.Sequential(nn.Linear(2048, 2048), nn.ReLU(), query.fc)
    both = prefixed("module.encoder_q.", query) | prefixed("module.encoder_k.", copy.deepcopy(query))
    queue = {"module.queue": torch.zeros(128, 100), "module.queue_ptr": torch.zeros(1).long()}
    return {"epoch": 1, "arch": "resnet50", "state_dict": both | queue}, nothing(query)


def dino():
    """The names of DINO's checkpoints (facebookresearch/dino)."""
    model = nothing(vision("resnet50"))
    sizes = {"mlp.0": (64, 2048), "mlp.2": (64, 64), "mlp.4": (16, 64)}
    head = {f"head.{name}.weight": torch.zeros(size) for name, size in sizes.items()}
    head |= {f"head.{name}.bias": torch.zeros(size[0]) for name, size in sizes.items()}
    head |= {"head.last_layer.weight_g": torch.ones(100, 1), "head.last_layer.weight_v": torch.zeros(100, 16)}
    teacher = prefixed("backbone.", model) | head
    return {"student": {f"module.{name}": t for name, t in teacher.items()}, "teacher": teacher, "epoch": 1}, model


# timm.


def of_timm(name, **options):
    return filled(timm.create_model(name, pretrained=False, **options), name)


def timm_saver(folder):
    from timm.utils import CheckpointSaver, ModelEmaV3

    model = of_timm("resnet18")
    args = Namespace(model="resnet18", mean=None, std=None, img_size=None)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    options = {"model_ema": ModelEmaV3(model), "checkpoint_dir": str(folder), "recovery_dir": str(folder)}
    CheckpointSaver(model, optimiser, args=args, **options).save_checkpoint(0, metric=1.0)
    return folder / "last.pth.tar", model


def timm_folder(folder):
    from timm.models import save_for_hf

    model = of_timm("resnet18")
    save_for_hf(model, folder / "hub", safe_serialization=True)
    return folder / "hub", model


def features_only():
    model = of_timm("resnet26", features_only=True)
    return model.state_dict(), nn.Sequential(model, Last(-1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


# Others.


def lightning(folder):
    from lightning import LightningModule, Trainer

    class Module(LightningModule):
        def __init__(self, arch="resnet18"):
            super().__init__()
            self.save_hyperparameters()
            self.net, self.loss = vision(arch, num_classes=10), nn.CrossEntropyLoss(weight=torch.ones(10))

        def training_step(self, batch, number):
            return self.loss(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 1e-9)

    module = Module()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(max_epochs=1, accelerator="cpu", enable_checkpointing=False, default_root_dir=folder, **quiet)
    data = torch.utils.data.TensorDataset(torch.randn(4, 3, 64, 64), torch.zeros(4).long())
    trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=4))
    trainer.save_checkpoint(folder / "last.ckpt")
    return folder / "last.ckpt", module.net


def lightly(momentum):
    from lightly.models.modules import MoCoProjectionHead, SimCLRProjectionHead

    module = nn.Module()
    module.backbone = nn.Sequential(*list(vision("resnet18").children())[:-1])
    module.projection_head = (MoCoProjectionHead if momentum else SimCLRProjectionHead)(512, 512, 128)
    if momentum:
        module.backbone_momentum = copy.deepcopy(module.backbone)
        module.projection_head_momentum = copy.deepcopy(module.projection_head)
    return module.state_dict(), nn.Sequential(module.backbone, nn.Flatten())


def fastai_learner():
    from fastai.vision.all import create_vision_model

    model = filled(create_vision_model(torchvision.models.resnet18, 5, pretrained=False), "fastai")
    whole = nn.Sequential(model[0], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return {"model": model.state_dict(), "opt": {}}, whole


def xresnet(name):
    from fastai.vision.models import xresnet as theirs

    model = filled(getattr(theirs, name)(n_out=10), name)
    return model.state_dict(), model


def cadene(name):
    import pretrainedmodels

    model = filled(getattr(pretrainedmodels, name)(pretrained=None), name)
    return model.state_dict(), model


def of_pytorchcv(name):
    from pytorchcv.model_provider import get_model

    model = filled(get_model(name, pretrained=False), name)
    return model.state_dict(), model


def segmentation():
    import segmentation_models_pytorch

    model = filled(segmentation_models_pytorch.Unet("resnet18", encoder_weights=None), "unet")
    return model.state_dict(), nn.Sequential(model.encoder, Last(-1), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def of_d2l():
    from d2l import torch as d2l

    model = d2l.resnet18(10, in_channels=3)
    model(torch.zeros(1, 3, 64, 64))  # its layers are made when they first see something
    return filled(model, "d2l").state_dict(), model


def robustness():
    """The package asks for a module that torchvision no longer has, and for a GPU to put its network on."""
    utils = types.ModuleType("torchvision.models.utils")
    utils.load_state_dict_from_url = torch.hub.load_state_dict_from_url
    sys.modules["torchvision.models.utils"] = utils
    nn.Module.cuda = torch.Tensor.cuda = lambda self, *args, **options: self
    from robustness.datasets import CIFAR
    from robustness.model_utils import make_and_restore_model

    made, _ = make_and_restore_model(arch="resnet50", dataset=CIFAR("."))
    attacked = getattr(made, "module", made)
    filled(attacked.model, "robustness")
    attacked.attacker.model.load_state_dict(attacked.model.state_dict())
    return {"model": made.state_dict(), "epoch": 1}, attacked.model


def mmpretrain(kind, depth, width, folder):
    import mmpretrain.models  # noqa: F401
    from mmengine.runner.checkpoint import save_checkpoint
    from mmpretrain.registry import MODELS

    parts = {
        "backbone": {"type": kind, "depth": depth, "num_stages": 4, "out_indices": (3,), "style": "pytorch"},
        "neck": {"type": "GlobalAveragePooling"},
        "head": {"type": "LinearClsHead", "num_classes": 5, "in_channels": width},
    }
    model = filled(MODELS.build({"type": "ImageClassifier", **parts}), kind)
    meta = {"dataset_meta": {"classes": tuple("abcde")}, "epoch": 3}
    save_checkpoint({"meta": meta, "state_dict": model.state_dict()}, str(folder / "epoch_3.pth"))
    return folder / "epoch_3.pth", nn.Sequential(
        model.backbone, Last(-1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), model.head.fc
    )


def reidentification():
    import torchreid

    model = filled(torchreid.models.build_model("resnet50", num_classes=10, loss="softmax", pretrained=False), "reid")
    model.eval()
    parts = [model.conv1, model.bn1, model.relu, model.maxpool, model.layer1, model.layer2, model.layer3, model.layer4]
    whole = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), model.classifier)
    return {"state_dict": model.state_dict(), "epoch": 1, "rank1": 0.5}, whole


def plain(model):
    return model.state_dict(), model


PYTORCHCV = ("resnet18", "resnet26", "resnet50b", "resnext50_32x4d")
SMALL = ("resnet20_cifar10", "preresnet20_cifar10", "wrn16_10_cifar10", "resnext29_32x4d_cifar10")
LAYOUTS = {
    "torchvision: state dict": lambda: plain(vision("resnet18")),
    "torchvision: wide": lambda: plain(vision("wide_resnet50_2")),
    "torchvision: groups": lambda: plain(vision("resnext50_32x4d")),
    "torchvision: reference script": reference_script,
    "torchvision: DataParallel and average": data_parallel,
    "torchvision: whole module": lambda: (vision("resnet18"),) * 2,
    "torchvision: Faster R-CNN": detector,
    "torchvision: no head": lambda: plain(nothing(vision("resnet50"))),
    "torchvision: children in a Sequential": children,
    "torchvision: dropout before the head": dropout_head,
    "torchvision: one channel": grey,
    "MoCo": moco,
    "DINO": dino,
    "timm: state dict": lambda: plain(of_timm("resnet26d")),
    "timm: pre-activation": lambda: plain(of_timm("resnetv2_50")),
    "timm: groups": lambda: plain(of_timm("resnext50_32x4d")),
    "timm: CheckpointSaver": timm_saver,
    "timm: hub folder": timm_folder,
    "timm: features only": features_only,
    "lightning": lightning,
    "lightly: SimCLR": partial(lightly, False),
    "lightly: MoCo": partial(lightly, True),
    "fastai: learner": fastai_learner,
    "fastai: xresnet18": partial(xresnet, "xresnet18"),
    "fastai: xresnet50": partial(xresnet, "xresnet50"),
    "pretrainedmodels: resnet50": partial(cadene, "resnet50"),
    "pretrainedmodels: resnext101_32x4d": partial(cadene, "resnext101_32x4d"),
    "pretrainedmodels: fbresnet152": partial(cadene, "fbresnet152"),
    **{f"pytorchcv: {name}": partial(of_pytorchcv, name) for name in PYTORCHCV + SMALL},
    "segmentation_models_pytorch": segmentation,
    "d2l": of_d2l,
    "robustness": robustness,
    "mmpretrain: resnet18": partial(mmpretrain, "ResNet", 18, 512),
    "mmpretrain: resnet50": partial(mmpretrain, "ResNet", 50, 2048),
    "mmpretrain: resnetv1d50": partial(mmpretrain, "ResNetV1d", 50, 2048),
    "mmpretrain: cifar": partial(mmpretrain, "ResNet_CIFAR", 18, 512),
    "torchreid": reidentification,
    # What another network shares its names and shapes with, or the grammar has not.
    "pytorchcv: resnet50": partial(of_pytorchcv, "resnet50"),
    "pytorchcv: preresnet18": partial(of_pytorchcv, "preresnet18"),
}
TO_FOLDERS = (timm_saver, timm_folder, lightning, mmpretrain)  # which write by themselves


def make(network, sizes, folder):
    """The layout of this name, with the answers of its network, in float64: many layers make noise of rounding."""
    maker = LAYOUTS[network]
    place, model = maker(folder) if getattr(maker, "func", maker) in TO_FOLDERS else maker()
    if not hasattr(place, "suffix"):
        torch.save(place, folder / "checkpoint.pth")
        place = folder / "checkpoint.pth"
    x = images(sizes[0])
    first = next(layer for layer in model.modules() if isinstance(layer, nn.Conv2d))
    x = x[:, : first.in_channels]
    with torch.no_grad():
        save_io(folder, sizes[0], x, model.double().eval()(torch.from_numpy(x).double()).numpy())
    return {network: place}


def run(path, network, batches):
    refuse("these files are read, and none is written")


if sys.argv[1] == "list":
    print("\n".join(LAYOUTS))
else:
    main(make, run)
