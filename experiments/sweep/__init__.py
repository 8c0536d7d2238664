"""Many runs of the main job, over weights, priors, channels and seeds."""
