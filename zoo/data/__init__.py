"""Reading files, sampling, preprocessing, and the data sets to train on."""
