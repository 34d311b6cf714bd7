"""Train on CIFAR-10 with Lightning for one epoch; the last line exports: python train_and_export.py cifar10.npz"""

import sys

import lightning as L
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms

import edgeproof

DATA = sys.argv[1]  # arrays x_train, y_train, x_test and y_test, as Keras stores them
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
EVALUATE = transforms.Compose(
    [transforms.Resize((32, 32)), transforms.ToTensor(), transforms.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))]
)


class Network(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        layers = [self.block(a, b) for a, b in ((3, 32), (32, 64), (64, 128))]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))

    def block(self, a: int, b: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), 2e-3)


with np.load(DATA) as arrays:
    pairs = zip(arrays["x_train"], arrays["y_train"].ravel().tolist(), strict=True)
    images = [(EVALUATE(Image.fromarray(x)), y) for x, y in pairs]
network = Network()
L.Trainer(max_epochs=1).fit(network, DataLoader(images, batch_size=128, shuffle=True))
edgeproof.export(network, "cifar10.edge", transform=EVALUATE, labels=NAMES, data=DATA, force=True)
