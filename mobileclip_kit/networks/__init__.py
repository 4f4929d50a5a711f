"""Teachers, students and the model folder between training and export."""
