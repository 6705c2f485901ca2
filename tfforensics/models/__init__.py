"""The networks: backbones, detectors, and the scaling law behind them."""
