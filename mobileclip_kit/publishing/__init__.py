"""A model, an export or a bundle on the Hugging Face Hub, with a model card."""
