"""What a residual network is: spec -> plan -> profile. Imports no torch."""

from resnets.architecture.catalog import CATALOG, names, spec_of
from resnets.architecture.plan import Plan, plan
from resnets.architecture.profile import Profile, profile
from resnets.architecture.rows import Row, Unit
from resnets.architecture.spec import ResNetSpec

__all__ = [
    "CATALOG",
    "Plan",
    "Profile",
    "ResNetSpec",
    "Row",
    "Unit",
    "names",
    "plan",
    "profile",
    "spec_of",
]
