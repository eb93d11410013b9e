"""What comes from a hub (`HF_ENDPOINT`, else Hugging Face's): what a revision is, and its files."""
