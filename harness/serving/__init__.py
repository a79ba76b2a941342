"""Models as other people's programs ask them: raw inputs in, readable predictions out."""
