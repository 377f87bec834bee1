"""What is learned from: data sets, their subsets, and the labels a run is trained on."""
