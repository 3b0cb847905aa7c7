"""What in a picture speaks for a class: Grad-CAM, and integrated gradients.

Both look at the square that the network sees, and both take their layer from the plan, never from a name that somebody
typed. Grad-CAM reads what the head's pooling reads: the last stage's output, with pre-activation after the head's norm
and relu. Integrated gradients reads the network's input.

Grad-CAM's map has a cell for each stride of the network, 4 x 4 of them for a picture of 128 pixels. Two things make it
finer without inventing anything, and `benchmarks/explain.py` measures them. The network is read at every eighth pixel:
a stride turned into dilation computes the very same features, and those between them. And a cell is laid where its
receptive field is centred, which padding moves by half a cell from where stretching the map would put it.

Of the gradient methods integrated gradients was taken because it can be checked: what it gives to the pixels adds up to
the score (completeness), and it draws no random numbers, so that it gives the same map twice. SmoothGrad does neither.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resnets.architecture import Plan, Row, plan
from resnets.architecture.rows import way
from resnets.errors import ParameterError, nearest
from resnets.inference import Classifier
from resnets.inference.features import head, seen
from resnets.network import ResNet
from resnets.weights.model import at_once

METHODS = ("grad-cam", "integrated-gradients")
BATCH = 8  # images that the network sees at once
STRIDE = 8  # pixels from one cell of Grad-CAM to the next
STEPS = 16  # points on the way from the mean colour to the picture
CELLS = 16  # integrated gradients is added up over squares of 1/16 of the side: single pixels are mostly noise


def heat(
    classifier: Classifier, pixels: np.ndarray, classes: Sequence[int] | np.ndarray, method: str = "grad-cam"
) -> np.ndarray:
    """How much each place of each picture speaks for a class.

    pixels    (N, S, S, 3) uint8, as `classifier.preprocessing.pixels` gives them
    classes   N places among `classifier.classes`, one for each picture
    method    "grad-cam" (Selvaraju 2017) or "integrated-gradients" (Sundararajan 2017)

    Returns (N, S, S) float32 from 0 to 1. The hottest place of a picture is 1; where nothing speaks for the class
    the whole map is 0. What speaks against it is 0 too. The network is left as it was, without gradients.

    Raises ParameterError for a method that there is not.
    """
    check(method)
    size = pixels.shape[1]
    maps = np.empty(pixels.shape[:3], np.float32)
    network = classifier.network if method == METHODS[1] else dense(classifier.network)
    device = next(network.parameters()).device
    wanted = torch.as_tensor(np.asarray(classes, np.int64), device=device)
    few = at_once(network, size, BATCH)
    for first in range(0, len(pixels), few):
        rows = slice(first, first + few)
        x = classifier.preprocessing.normalise(torch.from_numpy(np.array(pixels[rows])).to(device))
        if method == METHODS[1]:
            single = integrated_gradients(network, x, wanted[rows]).sum(dim=1)
            cells = F.adaptive_avg_pool2d(single, min(CELLS, size))
            places = (np.arange(cells.shape[-1]) + 0.5) * size / cells.shape[-1] - 0.5
        else:
            cells = grad_cam(network, x, wanted[rows])
            places = centres(network.plan, size)
        fine = spread(cells.relu().cpu().numpy(), places, size)
        highest = fine.max(axis=(1, 2), keepdims=True)
        maps[rows] = fine / np.where(highest > 0, highest, 1)
    return maps


def check(method: str) -> None:
    """Raises ParameterError for a method that there is not."""
    if method not in METHODS:
        hint = nearest(method, METHODS) or f" There are {' and '.join(METHODS)}."
        raise ParameterError(f"There is no method {method!r} to explain with.{hint}")


def dense(network: ResNet) -> ResNet:
    """The same tensors, not copied, in a network whose maps have a cell for every `STRIDE` pixels or fewer.

    Strides turned into dilation leave the features at the old places what they were (Chen 2016; with the average
    pools of a ResNet-D shortcut, what timm makes of them). Not with TensorFlow's padding rule SAME, which puts a
    strided kernel elsewhere than one without a stride: such a network is returned as it is.
    """
    p = network.plan
    if p.output_stride <= STRIDE or p.spec.conv_padding == "same":
        return network
    with torch.device("meta"):  # neither memory nor random numbers are spent on weights that are replaced
        finer = ResNet(plan(p.spec, p.num_classes, p.in_channels, STRIDE))
    finer.load_state_dict(network.state_dict(), assign=True)
    return finer.eval()


def centres(p: Plan, size: int) -> np.ndarray:
    """Where the cells of the last stage's map look: the middles of their receptive fields along one side.

    In pixels of a picture of `size`, counted from the middle of the first one. Padding on one side alone moves them.
    """
    p = plan(p.spec, p.num_classes, p.in_channels, p.output_stride, size)
    start, step = 0.0, 1
    pool = next(row for row in p.head if row.kind == "global_pool")
    for row in way({row.role: row for row in p.rows}, pool.reads[0]):
        start += step * (row.dilation * (row.kernel - 1) / 2 - _padding_before(row))
        step *= row.stride
    return start + step * np.arange(pool.input[1])


def _padding_before(row: Row) -> int:
    """Pixels that a layer adds at the left and at the top."""
    if row.padding == "same":
        reach = row.dilation * (row.kernel - 1) + 1
        return max((row.output[1] - 1) * row.stride + reach - row.input[1], 0) // 2
    return int({"ceil": 0, "zero": 1}.get(str(row.padding), row.padding))


def grad_cam(network: ResNet, x: Tensor, classes: Tensor) -> Tensor:
    """Grad-CAM before its relu: the maps that the head pools, each weighted with its mean gradient.

    x (N, C, S, S) float32, normalised; classes (N,) int64. Returns (N, H, W) at the resolution of those maps; the mean
    over a map is the class's logit, its bias left aside, over the number of cells.
    """
    maps = seen(network, x)
    weights = _gradient(head(network)[1], maps, classes).mean(dim=(2, 3), keepdim=True)
    return (weights * maps).sum(dim=1)


def integrated_gradients(network: ResNet, x: Tensor, classes: Tensor, steps: int = STEPS) -> Tensor:
    """The gradient along the straight way from the mean colour (an input of zeros) to each picture, times the way.

    x (N, C, S, S) float32, normalised; classes (N,) int64. Returns (N, C, S, S) in units of the class's logit: it adds
    up to how far the logit rises along the way. The integral is Gauss and Legendre's with `steps` points.
    """
    points, weights = np.polynomial.legendre.leggauss(steps)
    total = torch.zeros_like(x)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        total += float(weight) * _gradient(network, float(point) * x, classes)
    return total * x


def _gradient(function: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
    """Of each row's logit of its class, with respect to x; no parameter is given a gradient."""
    with torch.inference_mode(False), torch.enable_grad():
        x, classes = x.detach().clone().requires_grad_(), classes.clone()  # a caller's inference mode ends here
        score = function(x).gather(1, classes[:, None]).sum()
        return torch.autograd.grad(score, x)[0]


def spread(cells: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    """Maps (N, n, n), whose cells lie at `places`, at every pixel: (N, size, size), linear between two places."""
    shares = np.stack([np.interp(np.arange(size), places, one) for one in np.eye(len(places))])
    fine: np.ndarray = np.einsum("nij,ip,jq->npq", cells, shares, shares, optimize=True)
    return fine.astype(np.float32)


def overlay(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A picture with its heat over it: dark where it is cold, bright where it is hot.

    pixels (S, S, 3) uint8, heat (S, S) from 0 to 1; returns (S, S, 3) uint8.
    """
    from matplotlib import colormaps

    colour: np.ndarray = colormaps["inferno"](heat)[..., :3] * 255
    return np.rint(0.5 * pixels + 0.5 * colour).astype(np.uint8)
