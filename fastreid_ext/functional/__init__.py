"""Pure tensor maths that the parts share."""
