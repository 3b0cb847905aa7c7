"""Why a network says what it says of a picture."""

from resnets.explanation.picture import Explanation, explain

__all__ = ["Explanation", "explain"]
