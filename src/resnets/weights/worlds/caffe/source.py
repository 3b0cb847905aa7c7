"""A network as Caffe's own source: a .prototxt without weights, under the names of He's published files."""

from __future__ import annotations

from functools import partial

from resnets.architecture import Plan
from resnets.weights.formats.prototxt import printed
from resnets.weights.worlds.caffe import he
from resnets.weights.worlds.caffe.names import Caffe
from resnets.weights.worlds.caffe.net import net


def prototxt(plan: Plan, name: str) -> str:
    """The text of a NetParameter, for one image of the plan's size. Raises ModelFileError for what Caffe cannot."""
    shape = (1, plan.in_channels, plan.image_size, plan.image_size)
    return "".join(printed(net(plan, partial(he.layer_of, Caffe().naming(plan)), name, shape)))
