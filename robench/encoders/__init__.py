"""Image encoders: a picture to a vector whose angle to another's says how alike they are."""
