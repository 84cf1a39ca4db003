"""One thread: on models this small, threads cost more than they bring, ten times more on a busy machine."""

import torch

torch.set_num_threads(1)
