"""Small Caffe files for tests: two that Caffe 1.0 itself wrote and ran, and pairs of files that we write."""

from __future__ import annotations

import base64
import dataclasses
import tempfile
import zlib
from pathlib import Path

import torch
from torch import Tensor, nn

from resnets.architecture import ResNetSpec
from resnets.data.preprocess import Preprocessing
from resnets.network import ResNet, create
from resnets.weights.convert import write
from resnets.weights.model import Model
from resnets.weights.worlds.caffe.schema import NET, encoded

HEAD = 'name: "net" input: "data" input_dim: [1, 3, 8, 8]\n'
TINY = ResNetSpec(depths=(1, 2), widths=(4, 8), stem_width=8)
NECK = dataclasses.replace(TINY, block="bottleneck")
HE = dataclasses.replace(NECK, stride_conv="first", pool_padding="ceil", bias="stem")


def picture(*shape: int) -> Tensor:
    """What the recorded files were run on."""
    count = torch.arange(torch.Size(shape).numel())
    return ((count * 7919 % 101) / 50 - 1).reshape(shape).double()


def lively(spec: ResNetSpec, classes: int = 5) -> ResNet:
    """A network whose every tensor matters."""
    net = create(spec, num_classes=classes, seed=0)
    generator = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.3, 2, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.3, generator=generator)
        elif getattr(module, "bias", None) is not None:
            nn.init.normal_(module.bias, generator=generator)
    nn.init.normal_(net.head.linear.weight, generator=generator)
    return net.eval()


def model(spec: ResNetSpec = HE, size: int = 64, **preprocessing: object) -> Model:
    """A model with five classes."""
    return Model(lively(spec), tuple("abcde"), Preprocessing.evaluation(size, **preprocessing))


def pair(folder: Path, spec: ResNetSpec = HE) -> tuple[Path, str]:
    """(a .caffemodel with its .prototxt beside it, the text of the latter)."""
    path, text = write(model(spec), folder / "net.caffemodel", "caffe")
    return path, text.read_text()


def files(folder: Path, net: str = "", weights: bytes = b"") -> Path:
    """A pair of files in a new folder."""
    folder.mkdir(exist_ok=True)
    if net:
        (folder / "net.prototxt").write_text(net)
    path = folder / "net.caffemodel"
    path.write_bytes(weights or encoded({"name": ["net"]}, NET))
    return path


def layer(name: str, kind: str, bottoms: str, top: str, param: str = "") -> str:
    """A layer of a .prototxt; bottoms are joined by spaces."""
    ends = " ".join(f'bottom: "{bottom}"' for bottom in bottoms.split())
    return f'layer {{ name: "{name}" type: "{kind}" {ends} top: "{top}" {param} }}\n'


def small_pair() -> dict[str, bytes]:
    """Content by suffix, a few kB."""
    with tempfile.TemporaryDirectory() as folder:
        path, text = pair(Path(folder), dataclasses.replace(TINY, depths=(1, 1), widths=(2, 3), stem_width=2))
        return {".caffemodel": path.read_bytes(), ".prototxt": text.encode()}


def recorded(text: str) -> bytes:
    """The bytes of a file that stands below."""
    return zlib.decompress(base64.b85decode(text.replace("\n", "")))


# By `net.save` of Caffe 1.0 in the TRAIN phase: it has Caffe's own Split layers, and the phase of every layer. It is
# conv1 (3x1, padding (2, 0)), bn_conv1 (eps 0.01, factor 2.5), scale_conv1, relu, pool1 (3x3/2, padding 1), two
# convolutions (one dilated and grouped), their sum res2a, relu, dropout, pool4 (average of 3x3/2, padding 1), a
# global pool5, fc3 and a softmax, in places. Then what Caffe gave for picture(2, 3, 10, 11) in the TEST phase.
SAVED = """
c-oCrUr19?7(e&V?!6tgWG>3#pShs)3gMpwxwsvvWRoQ3Br1^Bb#5um-
MK#&`ci=f5zUtf4I*X`_^^mx_K^3A4?V;r@I~+;SkP1AgH%Kibk4a`HZy2&_ucb-zwh7qe&2<bggO-(%?J+2kE%)4YUz*0Qb{L0_`okof&%1O4
pwA@rwp_Nwdhp4wc;EWS|pVm*P?a`b($8%FMD$hUr^RlaIfX_t{L05(K4LYJ3HU%aAR>f>uECJ#);+h>UZ6iePv`lDk6`!u!+|411{{NujMO^a
QMBU(8L_09FZk&VH(>X843p()(6&wN{MY_y!iDBcb&-y2`G(317>lD&Z^1a*hMWqVK<8^*4AOE2l!VmNbrUEc~Y!SgA)bTBLH3?Q&A!F062Qdf
$@P&NtBp++(S=BxBx2>K{XO8CbkTbLwQmXF1^}?8*M^+@v*m_Yv|kUW=CQjxCbYM)FluPMN(GY9~!t+9?J(ZLMybyG%eC@6@6HYM{n#wsM-fUh
>`@Vx#KkC5Uio<fcf7RNW>!JNn9uqcGJaq^Z-bp?O-*nVTXZL@lc{e4UELqXmD&FAN~=q+(miD$a75N>`fhjUi32d8~Jn3$t@X}28Op_U%@tGI
DL=M2jv<pddu)fOpB9fYcQw#bDxZb`C7vTj~V{lH3QSB2Y~98N!LR?>$!^-=C7g|+hat0{W+aT!_;k4zryr49P2)sbS)9u>BH&IsByNHQjTXhj
xelB;;R9^My{EiW7v!^0}q#W(4qcE*X_=IK8h?mZ~<=e*s>1{vL{=EKM`p(91i2cYjs)#OSrZ!2&4!y$!=(&k*s20BzbE*5we%xr+r@{rwJ$H!
n`tVrM#k=GLSeL*J4^KX%)|#FMorI<U3PBz9NLGP4Y3j<U3`eyGqa$W}>?YnwJ=|y(!3rgPqpO{%AB5_r<l*RItd-E+?@l-Etcl5gxO9#&#Ov{
lWWr$Bn-##_ZQOc)YJM1yb%G&2`8HFOw0w6&|u2uhhtu>D4FLWAPo_2-1zi(_Io-iOUFekdMW+5vw?)g_9HNZ97Tkq&gq?1MS_SUj
"""
SAVED_LOGITS = [[4.85674, 2.604157, -3.261928], [5.1014, 2.238333, -3.166751]]

# Of Caffe's older form (V1 `layers`, shapes of four dimensions): a convolution, a leaky relu, another convolution, a
# weighted difference of both, an average, and a fully connected layer. Then what Caffe gave for picture(2, 3, 8, 8).
OLD = """
c-l>p!D|yi6vpSxY;ahrrqk4>3#Q8+WSfJOoJ81}>P1gV7D0qXNV5rofoxj~QZGdah?fQNlAvB%PeRXousf3e5%C~G@YtNh^x(-is|OGB2Ht!8
zW2TvoArCKcteF1x1O~eXnWB1t;P@Fw9Kl^W%aLccY5>7tod9A_KMDGC7q7<bd-+e;A~MJ-<h7gs9aa)exygkVZI&Mn_>1?Wwnpmo*bU6N0-%6
@?MRGtFm%@K_g3dyVq2heUOF~rML6Ip5(LU4K+F3!1`}F8a`6yp6)-;YlBY;`TE@dCJEWpVfGz!PqFq^{^h3<dHN^`H1_4w{a<Q5x~~k|Xs6?O
zBV|^aXw}AQA?lBpXgaL3mSq$8LHsYI>&yAGpUesiW#;+#gc$_VaSdzenROYAqP_2Dw44WF}mcSNv0d>Wt`varp%nUYyLkwupbutgcheRh^vSY
5IfNEpyRKOVS&RkAw*#~&_W34IFNXd_=_X35MzmZ0uqOI+a4bOQo}3Q4B1uV`|11@>b^7Y5+H}*j<Rv(pFXQE7|+p%&*(?~8YpL?CJ-
b_z1CKz=UBb|?ygrvfB7Y)oQM@ucdTTmzvUItub2Wj#V>KG%UtgAKYZ-669
"""
OLD_LOGITS = [[0.568393, 1.501155, -0.050478], [0.431336, 1.342725, -0.060848]]
