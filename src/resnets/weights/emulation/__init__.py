"""The graphs of other worlds in float64, as their own code defines them: the witnesses of a certificate."""
