"""Teachers, students and the model folder between training and export."""

from mobileclip_kit.networks import towers as towers  # timm learns the names of our towers
