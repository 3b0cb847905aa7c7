"""Two processes with half of the batch each have the gradients of one with all of it (norms in evaluation mode).

torchrun --standalone --nproc-per-node 2 examples/two_processes.py
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.nn.parallel import DistributedDataParallel

import resnets

SMALL = resnets.ResNetSpec(depths=(1, 1, 1), widths=(16, 32, 64), stem="cifar", stem_width=16)  # "ResNet-8"


def gradients(network, images, labels):
    """All gradients of the mean loss, in one row."""
    network.zero_grad()
    F.cross_entropy(network(images), labels).backward()
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])


def main():
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    generator = torch.Generator().manual_seed(0)  # the same batch in every process
    images, labels = torch.rand(16, 3, 32, 32, generator=generator), torch.randint(10, (16,), generator=generator)
    network = resnets.create(SMALL, seed=0).eval()
    alone = gradients(network, images, labels)
    mine = slice(rank * 16 // world, (rank + 1) * 16 // world)
    together = gradients(DistributedDataParallel(network), images[mine], labels[mine])
    if rank == 0:
        print(f"{world} processes differ from one by {float((together - alone).abs().max() / alone.abs().max()):.1e}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
