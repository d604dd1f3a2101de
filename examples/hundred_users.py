"""One frozen backbone, and a mask of it for each of 100 users.

    python examples/hundred_users.py [USERS]

The backbone knows digits. Every user likes five of the ten, and wants to know of an image whether
it shows one of them: a mask is learned for each user, and the weights stay as they are.
"""

import sys

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from supsup_bridge import SupSup, fix_weights, mlp, split_digits


def digits(part: str) -> tuple[Tensor, Tensor]:  # images (n, 64) and digits (n,)
    tasks = split_digits()
    images = [getattr(task, f"{part}_images") for task in tasks]
    labels = [getattr(task, f"{part}_labels") + 2 * n for n, task in enumerate(tasks)]
    return torch.cat(images), torch.cat(labels)


def trained_backbone(images: Tensor, labels: Tensor) -> nn.Module:
    """A network that tells digits apart; yours may come from anywhere."""
    net = fix_weights(mlp([64, 256, 10]), torch.Generator().manual_seed(0))
    adam = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(100):
        adam.zero_grad()
        cross_entropy(net(images), labels).backward()
        adam.step()
    return net


def main(users: int = 100) -> None:
    images, labels = digits("train")
    test_images, test_labels = digits("scored")
    backbone = trained_backbone(images, labels)
    draw = torch.Generator().manual_seed(1)
    likes = torch.stack([torch.randperm(10, generator=draw) < 5 for _ in range(users)])
    # No features: it is known who asks, so that nothing has to be inferred
    learner = SupSup(backbone, weights="given", mask_init="ones", signature_features=0)
    for user in range(users):
        learner.learn((images, likes[user][labels].long()), epochs=20, task=user)
    hits = [
        (learner.predict(test_images, task=user).label == likes[user][test_labels]).float().mean()
        for user in range(users)
    ]
    print(f"accuracy over {users} users: {torch.stack(hits).mean():.3f}, worst {min(hits):.3f}")
    weights = sum(p.numel() for p in backbone.parameters())
    print(f"the memory: {learner.memory.nbytes / 1e6:.2f} MB")
    print(f"a network for each user: {4e-6 * weights * users:.2f} MB")
    print(f"a packed list of the masks: {weights * users / 8e6:.2f} MB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
