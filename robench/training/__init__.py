"""What trainers are given by the suite: pictures corrupted as in evaluation, and few of them to adapt a model on."""
