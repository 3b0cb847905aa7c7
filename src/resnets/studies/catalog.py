"""The studies by name."""

from resnets.studies import (
    activation_order,
    bottleneck,
    cardinality,
    degradation,
    gradients,
    shortcuts,
    stride_place,
    table6,
    width_or_depth,
)
from resnets.studies.experiment import Study

STUDIES: dict[str, Study] = {
    module.STUDY.name: module.STUDY
    for module in (
        degradation,
        shortcuts,
        activation_order,
        gradients,
        width_or_depth,
        cardinality,
        stride_place,
        bottleneck,
        table6,
    )
}
