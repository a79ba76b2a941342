"""One model of several trained classifiers."""
