"""The peer of our multi-attention in PyTorch, for `models.py`: written from the equations.

The authors' own code is not to be had from a package index. Here are the same layers, shapes and
losses as in `tfforensics/models/` (Zhao et al., CVPR 2021) on efficientnet_pytorch's backbone, with
the M texture blocks as convolutions in M groups, as they were published. It trains, and is
nobody's detector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from efficientnet_pytorch import EfficientNet
from torch import Tensor, nn

MAPS, PROJECTION = 4, 256
SCALE, KERNEL, SIGMA, NOISE = 0.5, 11, 7.0, 0.1
INTER, REAL_MARGIN, FAKE_MARGIN, ALPHA = 0.8, 0.2, 0.8, 0.05


def fit(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear with aligned corners."""
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)


class Textures(nn.Module):
    """M dense blocks of C channels, as convolutions in M groups."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.extract = nn.Conv2d(channels, channels, 3, padding=1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(MAPS * channels * max(i, 1), MAPS * channels, k, padding=k // 2, groups=MAPS)
            for i, k in enumerate((5, 3, 3, 3, 1))
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(MAPS * channels * i) for i in (1, 2, 3, 4, 1))

    def forward(self, features: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
        features = self.extract(features)
        means = F.adaptive_avg_pool2d(features, attention.shape[2:])
        features = features - F.interpolate(means, features.shape[2:], mode="nearest")
        gate = torch.tanh(fit(attention.detach(), features))
        batch, channels, height, width = features.shape
        x = (features[:, None] * gate[:, :, None]).reshape(batch, -1, height, width)
        found = self.convolutions[0](x)
        for i in (1, 2, 3):
            new = self.convolutions[i](F.relu(self.norms[i - 1](found)))
            parts = [part.reshape(batch, MAPS, -1, height, width) for part in (found, new)]
            found = torch.cat(parts, 2).reshape(batch, -1, height, width)
        merged = self.convolutions[4](F.relu(self.norms[3](found)))
        textures = F.relu(self.norms[4](merged))
        return textures.reshape(batch, MAPS, channels, height, width), means


class MultiAttention(nn.Module):
    """Images, normalised (B, 3, S, S), to logit, attention maps and regions."""

    def __init__(self, backbone: str, size: int) -> None:
        super().__init__()
        self.backbone = EfficientNet.from_name(f"efficientnet-{backbone}", image_size=size)
        blocks = self.backbone._blocks
        # The last blocks of stages 2 and 5: a stage ends where the next block's channels change.
        ends = [
            i
            for i, block in enumerate(blocks)
            if i + 1 == len(blocks)
            or block._block_args.output_filters != blocks[i + 1]._block_args.output_filters
        ]
        self.texture_block, self.attention_block = ends[1], ends[4]
        shallow, deep = (
            blocks[i]._block_args.output_filters for i in (self.texture_block, self.attention_block)
        )
        final = self.backbone._conv_head.out_channels
        self.attend = nn.Sequential(
            nn.Conv2d(deep, deep, 3, padding=1), nn.BatchNorm2d(deep), nn.ReLU(),
            nn.Conv2d(deep, MAPS, 1, bias=False), nn.BatchNorm2d(MAPS), nn.ELU(),
        )  # fmt: skip
        self.textures = Textures(shallow)
        self.local = nn.Sequential(
            nn.Linear(MAPS * shallow, PROJECTION), nn.Hardswish(),
            nn.Linear(PROJECTION, PROJECTION), nn.Hardswish(),
        )  # fmt: skip
        self.whole = nn.Sequential(nn.Linear(final, PROJECTION), nn.Hardswish())
        self.head = nn.Sequential(
            nn.Linear(2 * PROJECTION, PROJECTION), nn.Hardswish(), nn.Linear(PROJECTION, 1)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        net = self.backbone
        x = net._swish(net._bn0(net._conv_stem(images)))
        taps = {}
        for i, block in enumerate(net._blocks):
            x = block(x, net._global_params.drop_connect_rate * i / len(net._blocks))
            taps[i] = x
        final = net._swish(net._bn1(net._conv_head(x)))
        deep = taps[self.attention_block]
        attention = (self.attend(deep) + 1) * border(*deep.shape[2:])
        textures, means = self.textures(taps[self.texture_block], attention)

        read = fit(attention, textures[:, 0])
        matrix = F.normalize(torch.einsum("bmhw,bmchw->bmc", read, textures), dim=2)
        drop = F.dropout(torch.ones_like(matrix[:, :, 0]), 0.25, self.training)
        kept = attention * drop[:, :, None, None]
        local = self.local((matrix * drop[:, :, None]).flatten(1))
        union = fit(kept.sum(1, keepdim=True), final) + 1e-8
        pooled = (union * final).sum((2, 3)) / union.sum((2, 3))
        whole = self.whole(F.dropout(pooled, 0.5, self.training))
        logit = self.head(torch.cat([local, whole], 1))[:, 0]

        centred = means - means.mean((2, 3), keepdim=True)
        centred = centred / (centred.std((2, 3), keepdim=True) + 1e-8)
        regions = F.normalize(torch.einsum("bmhw,bchw->bmc", attention, centred), dim=2)
        return logit, attention, regions


def border(height: int, width: int) -> Tensor:
    """0 in the outer two of 24 cells, 1 within."""

    def edge(size: int) -> Tensor:
        cell = torch.arange(size) * 24 // size
        return ((cell >= 2) & (cell < 22)).float()

    return edge(height)[:, None] * edge(width)[None]


def blur(images: Tensor) -> Tensor:
    """Gaussian, separable, reflected at the border."""
    taps = torch.exp(-((torch.arange(KERNEL) - KERNEL // 2) ** 2) / (2 * SIGMA**2))
    taps = (taps / taps.sum()).expand(3, 1, 1, KERNEL)
    pad = KERNEL // 2
    images = F.pad(images, (pad, pad, pad, pad), mode="reflect")
    images = F.conv2d(images, taps, groups=3)
    return F.conv2d(images, taps.transpose(2, 3), groups=3)


def degrade(images: Tensor, attention: Tensor) -> tuple[Tensor, Tensor]:
    """Each image, blurred and noisy where one of its maps is high; and which map."""
    with torch.no_grad():
        chosen = torch.multinomial(torch.sqrt(1 + attention.sum((2, 3))), 1)[:, 0]
        guide = fit(attention[torch.arange(len(chosen)), chosen][:, None], images)
        guide = guide / (guide.amax((1, 2, 3), keepdim=True) + 1e-8)
        threshold, zoom = (
            low + (high - low) * torch.rand(len(chosen), 1, 1, 1)
            for low, high in ((0.4, 0.6), (3.0, 5.0))
        )
        bottom = torch.sigmoid(-zoom * threshold)
        strength = (torch.sigmoid(zoom * (guide - threshold)) - bottom) / (1 - bottom)
        small = F.interpolate(images, scale_factor=SCALE, mode="bilinear", align_corners=True)
        small = blur(small)
        blurred = fit(small + NOISE * torch.randn_like(small), images)
        return images + strength * (blurred - images), chosen


def region_loss(regions: Tensor, labels: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """The regional independence loss, real examples moving the centres; and the centres."""
    real = (1 - labels)[:, None, None]
    centres = centres + ALPHA * (real * (regions - centres)).mean(0)
    distance = (regions - centres).norm(dim=(1, 2))
    intra = torch.where(
        labels > 0.5, F.relu(FAKE_MARGIN - distance), F.relu(distance - REAL_MARGIN)
    )
    j, k = torch.triu_indices(MAPS, MAPS, 1)
    apart = (centres[j] - centres[k] + 1e-12).norm(dim=1)
    inter = F.relu(INTER - apart).sum() / (MAPS * ALPHA)
    return intra.mean() + inter, centres.detach()


def runs(backbone: str, size: int, batch: int) -> dict[str, Callable[[], Any]]:
    """A training step with attention-guided augmentation, and inference."""
    network = MultiAttention(backbone, size)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4)
    images = torch.randn(batch, 3, size, size)
    labels = (torch.arange(batch) % 2).float()
    centres = torch.zeros(MAPS, network.textures.extract.out_channels)
    cross_entropy = F.binary_cross_entropy_with_logits

    def train() -> None:
        nonlocal centres
        network.train()
        optimizer.zero_grad()
        logit, attention, regions = network(images)
        region, centres = region_loss(regions, labels, centres)
        degraded, chosen = degrade(images, attention)
        again, _, moved = network(degraded)
        others = 1 - F.one_hot(chosen, MAPS)
        match = ((moved - regions).norm(dim=2) * others).mean()
        loss = cross_entropy(logit, labels) + 0.5 * region
        (loss + cross_entropy(again, labels) + 0.1 * match).backward()
        optimizer.step()

    def infer() -> None:
        network.eval()
        with torch.inference_mode():
            torch.sigmoid(network(images)[0])

    return {"training": train, "inference": infer}
