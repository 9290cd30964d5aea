"""Take in the images that a signed-in user gives, within limits for each user and for all."""
